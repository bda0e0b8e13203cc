"""Deliveries, straight from the wire, and their acknowledgement."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from worker.broker.wire import frames
from worker.broker.wire.acks import Acks
from worker.broker.wire.connection import Wire, WiredConnection
from worker.broker.wire.lane import Lane
from worker.broker.wire.properties import short_text

SEND_S: Final = 5.0


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A delivery that is ours to settle: what aio-pika's incoming message tells, under the same names."""

    lane: "Inbound"
    delivery_tag: int
    exchange: str
    routing_key: str
    body: bytes
    headers: dict[str, Any]
    type: str | None
    correlation_id: str | None
    content_type: str | None
    content_encoding: str | None
    timestamp: datetime | None
    message_id: str | None

    async def ack(self) -> None:
        """Acknowledge it, with what else is acknowledged in this turn of the loop, at the beginning of the next.

        Raises `OSError` if the connection is gone: the broker has it again then.
        Raises `TimeoutError` if the broker takes nothing for `SEND_S`.
        """
        await self.lane.ack(self.delivery_tag)

    async def reject(self, *, requeue: bool) -> None:
        """Give it back to its queue, or leave it to the broker's dead letters. Raises as `ack` does."""
        await self.lane.reject(self.delivery_tag, requeue=requeue)


class Inbound(Lane):
    """The deliveries of a channel, each handed to `take` as it comes."""

    def __init__(self, wire: Wire, number: int, take: Callable[[Taken], object]) -> None:
        super().__init__()
        self.number = number
        self._wire = wire
        self._take = take
        self._acks = Acks()

    @classmethod
    async def open(
        cls, connection: AbstractConnection, channel: AbstractChannel, take: Callable[[Taken], object]
    ) -> "Inbound":
        """Have the deliveries of a channel handed to `take` from now on."""
        if not isinstance(connection, WiredConnection):
            raise TypeError("only a connection over a wire has lanes")
        number = (await channel.get_underlay_channel()).number
        lane = connection.wire.lanes[number] = cls(connection.wire, number, take)
        return lane

    def taken(self, message: AbstractIncomingMessage) -> Taken:
        """A message that was got from a queue over the channel, as a delivery like all others."""
        return Taken(
            *(self, message.delivery_tag or 0, message.exchange or "", message.routing_key or "", message.body),
            *(message.headers, message.type, message.correlation_id, message.content_type, message.content_encoding),
            *(message.timestamp, message.message_id),
        )

    def on_method(self, name: bytes, buffer: bytes, at: int) -> bool:
        """Take the beginning of a delivery."""
        if name != frames.DELIVER:
            return False
        at += 1 + buffer[at]
        (tag,) = frames.TAG.unpack_from(buffer, at)
        self._acks.came(tag)
        exchange, at = short_text(buffer, at + 9)
        self._method = tag, exchange, short_text(buffer, at)[0]
        return True

    def on_content(self, method: tuple[int, str, str], told: dict[str, Any], body: bytes) -> None:
        """Take a delivery."""
        ask = told.get
        self._take(
            Taken(
                *(self, *method, body, ask("headers") or {}, ask("type"), ask("correlation_id")),
                content_type=ask("content_type"),
                content_encoding=ask("content_encoding"),
                timestamp=ask("timestamp"),
                message_id=ask("message_id"),
            )
        )

    async def ack(self, tag: int) -> None:
        """Acknowledge a delivery with the others of this turn of the loop."""
        await self._room()
        if self._acks.add(tag):
            asyncio.get_running_loop().call_soon(self.flush)

    async def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject a delivery, after what was acknowledged before."""
        await self._room()
        self.flush()
        self._wire.write([frames.reject(self.number, tag, requeue=requeue)])
        self._acks.settled(tag)

    async def _room(self) -> None:
        if self._wire.is_full:
            async with asyncio.timeout(SEND_S):
                await self._wire.drain()
        self._wire.check()

    def flush(self) -> None:
        """Send the acknowledgements. Of a connection that is gone meanwhile the broker has all deliveries again."""
        if acks := self._acks.frames(self.number):
            with suppress(ConnectionResetError):
                self._wire.write(acks)
