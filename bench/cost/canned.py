"""A broker that agrees to everything and an API that always knows the call, in memory, so that neither costs the role.

The broker speaks as much AMQP as our roles need. It keeps nothing, routes nowhere and confirms each message at once.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from pamqp import commands, frame
from pamqp.base import Frame

from bench.bodies import PLACE, call_of

HEAD: Final = struct.Struct(">BHL")
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
BODY_MAX: Final = 131_072 - 8
PROTOCOL: Final = b"AMQP\x00\x00\x09\x01"
PUBLISH, ACK = b"\x00\x3c\x00\x28", b"\x00\x3c\x00\x50"
CALL_ID: Final = b"1" * len(PLACE)
CAPABILITIES: Final = ("publisher_confirms", "basic.nack", "consumer_cancel_notify", "authentication_failure_close")
SIMPLE: Final[dict[type[Frame], Callable[[Any], Frame]]] = {
    commands.Connection.StartOk: lambda _: commands.Connection.Tune(2047, BODY_MAX + 8, 60),
    commands.Basic.Consume: lambda asked: commands.Basic.ConsumeOk(asked.consumer_tag),
    commands.Basic.Cancel: lambda asked: commands.Basic.CancelOk(asked.consumer_tag),
    commands.Queue.Declare: lambda asked: commands.Queue.DeclareOk(asked.queue, 0, 1),
    commands.Basic.Get: lambda _: commands.Basic.GetEmpty(),
}
"""The answers that say something."""


class Tally:
    """How many there were, and a way to wait for the next of them."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def add(self, some: int = 1) -> None:
        self.count += some
        self._changed.set()

    async def reach(self, count: int) -> None:
        while self.count < count:
            self._changed.clear()
            await self._changed.wait()


class Broker(asyncio.Protocol):
    """One connection: counts what is settled and published, and tells of a consumer's connection, channel and tag."""

    def __init__(self, settled: Tally, published: Tally, consumed: "asyncio.Future[tuple[Broker, int, str]]") -> None:
        self._settled, self._all_published, self._consumed = settled, published, consumed
        self._buffer = b""
        self._published: Counter[int] = Counter()
        self._wanted: Counter[int] = Counter()
        self._below = 1
        self._apart: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.startswith(PROTOCOL):
            self._buffer = self._buffer[len(PROTOCOL) :]
            can: dict[str, Any] = {"capabilities": dict.fromkeys(CAPABILITIES, True), "version": "3.10.8"}
            self._say(commands.Connection.Start(server_properties=can, mechanisms="PLAIN", locales="en_US"), 0)
        at = 0
        while len(self._buffer) - at >= HEAD.size:
            kind, channel, size = HEAD.unpack_from(self._buffer, at)
            until = at + HEAD.size + size + 1
            if until > len(self._buffer):
                break
            self._take(kind, channel, self._buffer[at:until])
            at = until
        self._buffer = self._buffer[at:]

    def _take(self, kind: int, channel: int, data: bytes) -> None:
        if kind == HEADER:
            (self._wanted[channel],) = struct.unpack_from(">Q", data, HEAD.size + 4)
        elif kind == BODY:
            self._wanted[channel] -= len(data) - HEAD.size - 1
        elif kind == METHOD:
            self._obey(channel, data)
        if kind in (HEADER, BODY) and self._wanted[channel] == 0:
            self._published[channel] += 1
            self._say(commands.Basic.Ack(self._published[channel]), channel)
            self._all_published.add()

    def _obey(self, channel: int, data: bytes) -> None:
        kind = data[HEAD.size : HEAD.size + 4]
        if kind == ACK:
            (tag,) = struct.unpack_from(">Q", data, HEAD.size + 4)
            self._settled.add(self._acknowledge(tag, multiple=bool(data[HEAD.size + 12])))
        elif kind != PUBLISH:
            self._answer(channel, frame.unmarshal(data)[2])

    def _acknowledge(self, tag: int, *, multiple: bool) -> int:
        """How many deliveries a frame acknowledges."""
        if not multiple:
            self._apart.add(tag)
            return 1
        now = set(range(self._below, tag + 1)) - self._apart
        self._below, self._apart = tag + 1, {each for each in self._apart if each > tag}
        return len(now)

    def _answer(self, channel: int, asked: Any) -> None:
        if answer := SIMPLE.get(type(asked)):
            self._say(answer(asked), channel)
        elif asked.synchronous and asked.valid_responses:
            module, _, name = asked.valid_responses[0].partition(".")
            self._say(getattr(getattr(commands, module), name)(), channel)
        if isinstance(asked, commands.Basic.Consume) and not self._consumed.done():
            self._consumed.set_result((self, channel, asked.consumer_tag))

    def _say(self, what: Frame, channel: int) -> None:
        self.transport.write(frame.marshal(what, channel))


class Api(asyncio.Protocol):
    """Answers every request of a connection with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self._transport.write(self._answer)


def call_answer(size_bytes: int) -> bytes:
    """The API's answer, headers included."""
    body = call_of(size_bytes).replace(PLACE, CALL_ID)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
