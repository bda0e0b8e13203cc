import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelNotFoundEntity
from yarl import URL

from tests.processes import AFTERCALL, RunningProcess, eventually
from worker.simulate.rabbitmq import PrivateNode, free_ports
from worker.simulate.tcp_proxy import TcpProxy

QUEUE = "calls.enrich.default"
SECRET = "faults-secret"
DECLARED_S = 2.5  # RabbitMQ 3.10 loses a quorum queue declared within the last half second before kill -9


def report(call_id: str, size: int = 0) -> bytes:
    """A report of about `size` bytes that gzip cannot make much smaller."""
    filling = "".join(uuid4().hex for _ in range(size // 32))
    message = {"type": "end-of-call-report", "call": {"id": call_id}, "endedReason": "customer-ended-call"}
    return json.dumps({"message": message | {"filling": filling}}).encode()


class Endpoint:
    """A real endpoint on a real broker, and the account of what it answered with 200."""

    def __init__(
        self, amqp_url: str, spool: Path, start: Callable[..., RunningProcess], http: aiohttp.ClientSession
    ) -> None:
        self.amqp_url = amqp_url
        self.spool = spool
        self.http = http
        self.port, self.probes = free_ports(2)
        self.kept: list[str] = []
        self.took_s: list[float] = []
        self.process: RunningProcess
        self._start = start

    def start(self, *before: str, **environment: str) -> RunningProcess:
        settings = {
            "AFTERCALL_AMQP_URL": self.amqp_url,
            "AFTERCALL_WEBHOOK_SECRETS": SECRET,
            "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
            "AFTERCALL_WEBHOOK_PORT": str(self.port),
            "AFTERCALL_ADMIN_PORT": str(self.probes),
            "AFTERCALL_SPOOL_DIR": str(self.spool),
        }
        self.process = self._start(*before, AFTERCALL, "webhook", environment=settings | environment)
        return self.process

    async def started(self, **environment: str) -> RunningProcess:
        """Once it is ready and has its broker."""
        process = self.start(**environment)
        await process.wait_for_line("broker.connected")
        await self.ready()
        return process

    async def ready(self, status: int = 200) -> None:
        await self.process.wait_for_url(f"http://127.0.0.1:{self.probes}/readyz", status=status)

    async def post(self, call_id: str = "", size: int = 0, body: bytes = b"") -> int:
        """Post a report, of a new call unless one is named; one answered with 200 is entered in the account."""
        call_id = call_id or str(uuid4())
        url, headers = f"http://127.0.0.1:{self.port}/webhooks/vapi", {"Authorization": f"Bearer {SECRET}"}
        began = time.monotonic()
        async with self.http.post(url, data=body or report(call_id, size), headers=headers) as answer:
            await answer.read()
            self.took_s.append(time.monotonic() - began)
            if answer.status == 200:
                self.kept.append(call_id)
            assert answer.status == 200 or "Retry-After" in answer.headers
            return answer.status

    async def post_many(self, count: int, size: int = 0) -> Counter[int]:
        return Counter(await asyncio.gather(*(self.post(size=size) for _ in range(count))))

    async def metric(self, name: str) -> float:
        told = await self.process.wait_for_url(f"http://127.0.0.1:{self.probes}/metrics")
        found = re.search(rf"^{name} (\S+)$", told.decode(), re.MULTILINE)
        assert found, name
        return float(found[1])

    async def drained(self) -> None:
        async def is_empty() -> bool:
            return await self.metric("aftercall_spool_notifications") == 0

        await eventually(is_empty)


async def take_all(amqp_url: str, queue: str = QUEUE) -> list[AbstractIncomingMessage]:
    """Everything that is in a queue."""
    taken: list[AbstractIncomingMessage] = []
    async with await aio_pika.connect(amqp_url) as connection:
        waiting = await (await connection.channel()).get_queue(queue, ensure=False)
        while message := await waiting.get(fail=False, no_ack=True, timeout=10):
            taken.append(message)
    return taken


async def arrived(endpoint: Endpoint, amqp_url: str) -> Counter[str]:
    """How often each call came out, once every one answered with 200 has."""
    found: Counter[str] = Counter()

    async def all_of_them() -> bool:
        found.update(str(message.correlation_id) for message in await take_all(amqp_url))
        return set(endpoint.kept) <= found.keys()

    await eventually(all_of_them)
    return found


async def purge(amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        with suppress(ChannelNotFoundEntity):  # nobody declared it yet
            await (await (await connection.channel()).get_queue(QUEUE)).purge()


@pytest.fixture
async def node(node: PrivateNode) -> PrivateNode:
    """The module's own node to do harm to, which is empty before."""
    await purge(node.url)
    return node


@pytest.fixture
async def wire(node: PrivateNode) -> AsyncIterator[TcpProxy]:
    """The wire between the endpoint and the broker."""
    async with TcpProxy("127.0.0.1", URL(node.url).port or 0) as proxy:
        yield proxy


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=300, force_close=True)  # Vapi comes from many places
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
        yield http


@pytest.fixture
def endpoint(
    node: PrivateNode,
    wire: TcpProxy,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    start_process: Callable[..., RunningProcess],
) -> Endpoint:
    return Endpoint(wire.through(node.url), tmp_path / "spool", start_process, http)


async def away(wire: TcpProxy) -> None:
    """The broker goes away, as far as the endpoint can see."""
    await wire.refuse()
    wire.cut()


async def settle() -> None:
    """Let a broker write down what was just declared."""
    declared_at = time.monotonic()
    await eventually(lambda: time.monotonic() > declared_at + DECLARED_S)
