"""What comes in while a role is watched: notifications from the broker, or webhooks."""

import asyncio
import time

from pamqp import commands, frame, header

from bench.bodies import PLACE, report_of
from bench.cost.canned import BODY, BODY_MAX, CALL_ID, HEAD, Broker, Tally
from consumers.notifications import write_notification


def webhook_request(size_bytes: int, secret: str) -> bytes:
    """What Vapi posts, headers included."""
    body = report_of(size_bytes).replace(PLACE, CALL_ID)
    head = "POST /webhooks/vapi HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Authorization: Bearer {secret}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Deliveries:
    """Gives a consumer so many notifications, and waits until they are acknowledged."""

    def __init__(self, size_bytes: int, settled: Tally, broker: Broker, channel: int, tag: str) -> None:
        self._settled, self._broker, self._channel, self._consumer = settled, broker, channel, tag
        self._content = _content(size_bytes, channel)
        self._given = 0

    async def __call__(self, count: int, at_once: int) -> None:
        end = self._given + count
        while self._given < end:
            self._given += 1
            deliver = commands.Basic.Deliver(self._consumer, self._given, False, "calls", "call.ended.default")
            self._broker.transport.write(frame.marshal(deliver, self._channel) + self._content)
            await self._settled.reach(self._given - at_once + 1)
        await self._settled.reach(end)

    async def close(self) -> None:
        """Nothing: the connection is the role's."""


def _content(size_bytes: int, channel: int) -> bytes:
    """The header and body frames of a notification as the endpoint makes it."""
    message = write_notification(
        (report_of(size_bytes).replace(PLACE, CALL_ID), None),
        account="default",
        call_id=CALL_ID.decode(),
        source="webhook",
        received_at=time.time(),
        traceparent=f"00-{'1' * 32}-{'2' * 16}-00",
    )
    properties = commands.Basic.Properties(
        headers=dict(message.headers),
        content_type=message.content_type,
        delivery_mode=2,
        message_id="3" * 32,
        correlation_id=message.call_id,
        message_type=message.type,
    )
    head = frame.marshal(header.ContentHeader(body_size=len(message.body), properties=properties), channel)
    parts = (message.body[at : at + BODY_MAX] for at in range(0, len(message.body), BODY_MAX))
    return head + b"".join(HEAD.pack(BODY, channel, len(part)) + part + b"\xce" for part in parts)


class Posts:
    """Posts so many webhooks over connections that are kept, until each is answered by 200 and published.

    The first may go through the spool, which publishes them beside those that come after.
    """

    def __init__(self, port: int, request: bytes, published: Tally) -> None:
        self._port, self._request, self._published = port, request, published
        self._posted = 0
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __call__(self, count: int, at_once: int) -> None:
        while len(self._kept) < at_once:
            self._kept.append(await asyncio.open_connection("127.0.0.1", self._port))
        await asyncio.gather(*(self._post(*each, count // at_once) for each in self._kept[:at_once]))
        self._posted += count // at_once * at_once
        await self._published.reach(self._posted)

    async def close(self) -> None:
        for _, writer in self._kept:
            writer.close()
            await writer.wait_closed()

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
        for _ in range(count):
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
