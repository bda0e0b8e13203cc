"""The endpoint over real HTTP with a real broker, and what to post to it."""

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiohttp import web

from tests.processes import PATIENCE_S, eventually
from worker.broker import declare
from worker.broker.publisher import Publisher
from worker.broker.topology import topology_of
from worker.ingress.endpoint import Endpoint
from worker.ingress.signature import checker
from worker.ingress.spool.drain import Drain
from worker.ingress.spool.keeper import Gate, Keeper
from worker.ingress.spool.writer import Spool
from worker.ingress.webhook import application
from worker.settings import Settings, load

CALL_ID = "01a058c7-4c94-7cd1-8155-66af75f0734c"
PARKED = "calls.webhook.dead"
LARGEST = 3_000_000
BEARER = {"Authorization": "Bearer s3cret"}


def settings(url: str, **changes: str) -> Settings:
    keys = {
        "AMQP_URL": url,
        "RETRY_TIERS_S": "5",
        "SUBSCRIBERS": "ledger",
        "WEBHOOK_SECRETS": "s3cret,another",
        "ACCOUNTS__ACME_DENTAL__WEBHOOK_SECRETS": "acme-secret",
        "ACCOUNTS__ACME_DENTAL__VAPI_API_KEY": "key",
    }
    return load({f"AFTERCALL_{key}": value for key, value in (keys | changes).items()})


@dataclass
class Served:
    """An endpoint that is served, and the broker behind it."""

    port: int
    amqp_url: str
    publisher: Publisher
    spool: Spool
    http: aiohttp.ClientSession

    async def post(
        self, body: bytes, path: str = "/webhooks/vapi", headers: dict[str, str] | None = None, method: str = "POST"
    ) -> tuple[int, bytes, dict[str, str]]:
        url = f"http://127.0.0.1:{self.port}{path}"
        sent = BEARER if headers is None else headers
        async with self.http.request(method, url, data=io.BytesIO(body), headers=sent) as answer:
            return answer.status, await answer.read(), dict(answer.headers)

    async def send(self, *parts: bytes) -> bytes:
        """Write to a socket as an impolite client does, and read the head of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(PATIENCE_S):
                return await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()

    async def take(self, queue: str) -> AbstractIncomingMessage:
        async with await aio_pika.connect(self.amqp_url) as connection:
            found = await (await connection.channel()).get_queue(queue, ensure=False)
            return await eventually(lambda: found.get(no_ack=True, fail=False))

    async def count(self, queue: str) -> int:
        async with await aio_pika.connect(self.amqp_url) as connection:
            found = await (await connection.channel()).declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0


@asynccontextmanager
async def serving(url: str, body_s: float = 5, spool_max_bytes: int = 2**30, **changes: str) -> AsyncIterator[Served]:
    effective = settings(url, **changes)

    async def set_up(connection: AbstractConnection, _channel: AbstractChannel) -> None:
        await declare.apply(connection, topology_of(effective))

    publisher = Publisher(effective.amqp_url, name="webhook", timeout_s=2, is_patient=False, set_up=set_up)
    session = asyncio.create_task(publisher.session.run())
    folder = tempfile.TemporaryDirectory()
    spool = Spool(Path(folder.name), spool_max_bytes)
    await spool.open()
    gate = Gate(publisher.session.ready.is_set)
    drain = Drain(spool, publisher.publish, gate, publisher.unblocked)
    draining = asyncio.create_task(drain.run())
    endpoint = Endpoint(
        checks={account.name: checker(account) for account in effective.accounts},
        accept=Keeper(publisher.publish, spool.keep, gate).accept,
        max_body_bytes=LARGEST,
        notes=True,
        body_s=body_s,
    )
    runner = web.AppRunner(application(endpoint), access_log=None, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        await eventually(publisher.session.ready.is_set)  # it declares everything first
        async with aiohttp.ClientSession() as http:
            yield Served(runner.addresses[0][1], url, publisher, spool, http)
    finally:
        await runner.cleanup()
        drain.stop()
        await draining
        await spool.close()
        folder.cleanup()
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


def report(**changes: Any) -> bytes:
    message = {"type": "end-of-call-report", "call": {"id": CALL_ID}, "endedReason": "customer-ended-call"}
    return json.dumps({"message": message | changes}).encode()


def head(length: int | None = None, *more: str, method: str = "POST", path: str = "/webhooks/vapi") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Authorization: Bearer s3cret", *more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()
