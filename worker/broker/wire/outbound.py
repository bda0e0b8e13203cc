"""Publishing, straight to the wire, and what the broker says of it: confirmed, nacked, or returned."""

import asyncio
import os
import time
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelInvalidStateError

from consumers.messages import Message
from consumers.outcomes import TooLarge
from worker.broker.wire import frames
from worker.broker.wire.connection import WiredConnection
from worker.broker.wire.lane import Lane
from worker.broker.wire.properties import short_text, write_header

HEADER_MAX_BYTES: Final = 96 * 1024
"""The broker closes a connection whose header frame exceeds its frame_max, 128 KiB by default."""


class Nacked(Exception):
    """The broker did not take a message: a queue that it goes to is full, or without a leader."""


class Returned(Exception):
    """A message came back: no queue is bound for it."""


class Outbound(Lane):
    """The publishes of a channel in confirm mode, on which nobody else publishes.

    The broker numbers them from 1, and says of each number what became of it; a message that it could not route comes
    back before that (https://www.rabbitmq.com/docs/confirms).
    """

    def __init__(self, connection: WiredConnection, number: int, frame_max: int) -> None:
        super().__init__()
        self._wire = connection.wire
        self._number = number
        self._frame_max = frame_max or frames.FRAME_MAX
        self._header_max = min(HEADER_MAX_BYTES, self._frame_max - frames.FRAMING_BYTES)
        self._last = 0
        self._waiting: dict[int, tuple[asyncio.Future[None], str]] = {}
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None

    @classmethod
    async def open(cls, connection: AbstractConnection, channel: AbstractChannel) -> "Outbound":
        """Have what is published on a channel from now on go straight to the wire."""
        if not isinstance(connection, WiredConnection):
            raise TypeError("only a connection over a wire has lanes")
        underlay: Any = await channel.get_underlay_channel()
        frame_max = underlay.connection.connection_tune.frame_max
        lane = connection.wire.lanes[underlay.number] = cls(connection, underlay.number, frame_max)
        channel.close_callbacks.add(lambda _channel, error: lane.fail(error))
        return lane

    async def publish(self, message: Message) -> None:
        """Publish, and return once the broker has the message.

        Raises `Nacked`, `Returned`, `TooLarge`, `OSError`, and what the channel ends with. `TypeError` and `ValueError`
        are for headers that AMQP cannot carry.
        """
        message_id = os.urandom(16).hex()  # never the same id twice in flight: by it a returned message is known
        header = _header(message, message_id, self._header_max)
        place = (message.exchange, message.routing_key)
        if self._wire.is_full:
            await self._wire.drain()
        if self._error is not None:
            raise self._error
        self._wire.write(frames.publish(self._number, place, header, message.body, self._frame_max))
        self._last += 1
        confirmed = self._loop.create_future()
        self._waiting[self._last] = (confirmed, message_id)
        await confirmed

    def fail(self, error: BaseException | None) -> None:
        """The channel is closed: nobody will ever hear of what is not confirmed."""
        self._error = error if isinstance(error, Exception) else ChannelInvalidStateError("the channel was closed")
        waiting, self._waiting = self._waiting, {}
        for confirmed, _ in waiting.values():
            _settle(confirmed, self._error)

    def on_method(self, name: bytes, buffer: bytes, at: int) -> bool:
        """Take what the broker says of a publish."""
        if name == frames.RETURN:
            self._method, _ = short_text(buffer, at + 2)
        elif name in (frames.ACK, frames.NACK):
            tag, bits = frames.TAG_AND_BITS.unpack_from(buffer, at)
            trouble = Nacked("the broker refuses it for now") if name == frames.NACK else None
            self._settle(tag, trouble, multiple=bool(bits & 1))
        else:
            return False
        return True

    def on_content(self, method: str, told: dict[str, Any], body: bytes) -> None:  # noqa: ARG002  # it is ours
        """Take a message that came back."""
        for confirmed, message_id in self._waiting.values():
            if message_id == told.get("message_id"):
                _settle(confirmed, Returned(method))

    def _settle(self, tag: int, trouble: Exception | None, *, multiple: bool) -> None:
        for each in [each for each in self._waiting if each <= tag] if multiple else (tag,):
            if each in self._waiting:
                _settle(self._waiting.pop(each)[0], trouble)


def _header(message: Message, message_id: str, most: int) -> bytes:
    header = write_header(
        len(message.body),
        message.headers,
        message_id=message_id,
        at=time.time(),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        correlation_id=message.call_id,
        type_=message.type,
    )
    if len(header) > most:
        raise TooLarge(f"{len(header)} bytes of headers, which must fit one frame")
    return header


def _settle(confirmed: "asyncio.Future[None]", trouble: Exception | None) -> None:
    """Tell whoever waits, if anybody still does."""
    if confirmed.done():
        return
    if trouble is None:
        confirmed.set_result(None)
    else:
        confirmed.set_exception(trouble)
