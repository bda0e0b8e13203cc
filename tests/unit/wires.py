"""A wire whose way out is kept, and the frames of a broker."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pamqp.frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from worker.broker.wire.connection import Wire

CONSUMING, PUBLISHING, OTHER = 1, 2, 3
FRAME_MAX = 4096


class Socket:
    """A wire's way out, kept."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False
        self.has_room = asyncio.Event()
        self.has_room.set()

    @property
    def transport(self) -> "Socket":
        return self

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 2**16, "or each message of 20 KB is a write of its own"

    def get_write_buffer_size(self) -> int:
        return 0 if self.has_room.is_set() else 2**30

    def is_closing(self) -> bool:
        return self.is_closed

    def writelines(self, parts: list[bytes]) -> None:
        self.sent += parts

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    async def drain(self) -> None:
        await self.has_room.wait()

    def frames(self) -> Iterator[Any]:
        left = b"".join(self.sent)
        while left:
            size, _, frame = pamqp.frame.unmarshal(left)
            yield frame
            left = left[size:]


def wire_to(socket: Socket, clock: Callable[[], float] = lambda: 0.5) -> Wire:
    wire = Wire()
    wire.attach(cast("asyncio.StreamWriter", socket), clock)
    return wire


def content(channel: int, method: Any, body: bytes, **properties: Any) -> list[bytes]:
    """The frames of a method with content, as pamqp writes them."""
    header = ContentHeader(body_size=len(body), properties=Basic.Properties(**properties))
    parts = [ContentBody(body[at : at + 1000]) for at in range(0, len(body), 1000)]
    return [pamqp.frame.marshal(each, channel) for each in (method, header, *parts)]


def delivered(tag: int, body: bytes, channel: int = CONSUMING, **properties: Any) -> list[bytes]:
    method = Basic.Deliver(consumer_tag="ctag", delivery_tag=tag, exchange="calls", routing_key="call.ended.default")
    return content(channel, method, body, **properties)
