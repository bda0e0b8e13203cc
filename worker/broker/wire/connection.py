"""An aio-pika connection whose bytes pass through a `Wire`."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aio_pika
from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from worker.broker.wire.frames import HEAD, HEARTBEAT, KINDS
from worker.broker.wire.lane import Lane

ALIVE_S: Final = 1.0
BUFFER_BYTES: Final = 2**20
"""Up to that is written, and nobody waits."""


class Wire(TransportFactory):
    """The bytes of one connection: frames for a `Lane` are taken from them, all others are aiormq's to read.

    aiormq writes whole frames too, so both may write in turns. Since it does not see most of what comes, it is told by
    a heartbeat now and then that the broker is alive.
    """

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}
        self._parts: list[bytes] = []
        self._wanted = 0
        self._told_at = 0.0

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, with TLS for `amqps`. Raises `AMQPConnectionError`."""
        provider = kwargs.pop("ssl_context_provider")
        context = await provider.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = _Protocol(reader, self)
        try:
            place: dict[str, Any] = {"host": url.host, "port": url.port, "ssl": context}
            transport, _ = await loop.create_connection(lambda: protocol, **place, **kwargs)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        writer = Writer(transport, protocol, reader, loop)
        writer.wire = self
        self.attach(writer, loop.time)
        return reader, writer

    def attach(self, writer: asyncio.StreamWriter, clock: Callable[[], float]) -> None:
        """Write to a socket from now on."""
        self._writer, self._transport, self._clock = writer, writer.transport, clock
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def write(self, frames: list[bytes]) -> None:
        """Send whole frames. Raises `ConnectionResetError` once nothing can be sent any more."""
        self.check()
        self._transport.writelines(frames)

    def check(self) -> None:
        """Raise `ConnectionResetError` if nothing can be sent any more."""
        if self._transport.is_closing():
            raise ConnectionResetError("the connection to the broker is closed")

    def flush(self) -> None:
        """Send what the lanes have to send."""
        for lane in self.lanes.values():
            lane.flush()

    @property
    def is_full(self) -> bool:
        """Whether more is written than the broker takes."""
        return self._transport.get_write_buffer_size() > BUFFER_BYTES

    async def drain(self) -> None:
        """Wait until the broker has taken most of what is written."""
        await self._writer.drain()

    def feed(self, data: bytes) -> bytes:
        """Give the lanes their frames of what came; what is left is aiormq's."""
        self._parts.append(data)
        self._wanted -= len(data)
        if self._wanted > 0:
            return b""
        buffer = data if len(self._parts) == 1 else b"".join(self._parts)
        at, others = self._cut(buffer)
        self._parts = [buffer[at:]] if at < len(buffer) else []
        if others or not at:
            return b"".join(others)
        return self._sign_of_life()

    def _cut(self, buffer: bytes) -> tuple[int, list[bytes]]:
        """How far whole frames go, and those for no lane. Sets how many bytes the next one wants."""
        others: list[bytes] = []
        at, end = 0, len(buffer)
        while end - at >= HEAD.size:
            kind, number, size = HEAD.unpack_from(buffer, at)
            until = at + HEAD.size + size + 1 if kind in KINDS else end  # no AMQP frame: aiormq knows what to say
            if until > end:
                self._wanted = until - end
                return at, others
            lane = self.lanes.get(number)
            if lane is None or not lane.take(kind, buffer, at + HEAD.size, until - 1):
                others.append(buffer[at:until])
            at = until
        self._wanted = HEAD.size - (end - at)
        return at, others

    def _sign_of_life(self) -> bytes:
        if self._clock() - self._told_at < ALIVE_S:
            return b""
        self._told_at = self._clock()
        return HEARTBEAT


class Writer(asyncio.StreamWriter):
    """aiormq's way out: what it says of a channel, that it is closed say, goes after what the lanes had to send."""

    wire: Wire

    def write(self, data: Any) -> None:
        """Write, after the lanes."""
        self.wire.flush()
        super().write(data)


class _Protocol(asyncio.StreamReaderProtocol):
    """The protocol of a stream that only gets what is left of the bytes."""

    def __init__(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        super().__init__(reader)
        self._wire = wire

    def data_received(self, data: bytes) -> None:
        if left := self._wire.feed(data):
            super().data_received(left)


class WiredConnection(aio_pika.Connection):
    """aio-pika's connection over a wire of ours."""

    def __init__(self, url: URL, **options: Any) -> None:
        super().__init__(url, **options)
        self.wire = Wire()
        self.kwargs["transport_factory"] = self.wire
