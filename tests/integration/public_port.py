"""The endpoint on a real socket without a broker behind it, and a client that writes bytes as it likes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from consumers.messages import Message
from tests.processes import PATIENCE_S
from worker.ingress.connections import Connections, listening
from worker.ingress.endpoint import Endpoint
from worker.ingress.signature import checker
from worker.ingress.spool.keeper import Accepted
from worker.ingress.webhook import application
from worker.settings import Settings, load

SECRET = "s3cret"
LARGEST = 200_000
REPORT = json.dumps({"message": {"type": "end-of-call-report", "call": {"id": "call-1"}}}).encode()
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def request(
    *headers: str,
    body: bytes = REPORT,
    start: str = "POST /webhooks/vapi HTTP/1.1",
    secret: str = SECRET,
    length: bool = True,
) -> bytes:
    """A request as a client would write it, if nothing else is said."""
    lines = [start, "Host: aftercall.test"]
    lines += [f"Authorization: Bearer {secret}"] if secret else []
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def statuses(heard: bytes | bytearray) -> list[int]:
    """The status codes in what was heard."""
    return [int(status) for status in STATUS_LINE.findall(heard)]


def settings(**changes: str) -> Settings:
    return load({f"AFTERCALL_{key}": value for key, value in ({"WEBHOOK_SECRETS": SECRET} | changes).items()})


@dataclass
class Port:
    """A served endpoint, and what it has accepted."""

    port: int
    endpoint: Endpoint
    accepted: list[Message] = field(default_factory=list)
    lines: list[asyncio.StreamWriter] = field(default_factory=list)

    async def talk(self, *parts: bytes, answers: int = 0) -> list[int]:
        """Write the parts and read so many answers, or until the endpoint closes the connection: the status codes."""
        return statuses(await self.hear(*parts, answers=answers))

    async def hear(self, *parts: bytes, answers: int = 0) -> bytes:
        """The same, and all that is answered."""
        reader, writer = await self.open()
        heard = bytearray()
        try:
            async with asyncio.timeout(PATIENCE_S):
                with suppress(ConnectionError):
                    for part in parts:
                        writer.write(part)
                        await writer.drain()
                with suppress(ConnectionError):
                    while (not answers or len(statuses(heard)) < answers) and (more := await reader.read(2**16)):
                        heard += more
        finally:
            writer.close()
        return bytes(heard)

    async def open(self, begun: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that goes on, with what is written to it at first."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.lines.append(writer)
        writer.write(begun)
        await writer.drain()
        return reader, writer


@asynccontextmanager
async def public_port(
    *, idle_s: float = 5, connections: Connections | None = None, changes: dict[str, str] | None = None, **parts: Any
) -> AsyncIterator[Port]:
    """An endpoint that is served as the role serves it."""
    accepted: list[Message] = []

    async def accept(message: Message) -> Accepted:
        accepted.append(message)
        return "published"

    endpoint = Endpoint(
        checks={account.name: checker(account) for account in settings(**(changes or {})).accounts},
        accept=accept,
        notes=False,
        connections=(known := connections or Connections()),
        **{"max_body_bytes": LARGEST} | parts,
    )
    served = listening(application(endpoint), "127.0.0.1", 0, grace_s=1, connections=known, idle_s=idle_s)
    async with served as (_, port):
        opened = Port(port, endpoint, accepted)
        yield opened
        for line in opened.lines:
            line.transport.abort()
