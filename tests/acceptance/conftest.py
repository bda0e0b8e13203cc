import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiohttp import web

from tests.acceptance.rights import Users
from tests.processes import AFTERCALL, RunningProcess, eventually
from tests.serving import listening
from worker.simulate.rabbitmq import Broker, free_ports

SAMPLES = Path(__file__).parent.parent / "samples"
SECRET = "acceptance-secret"
KEY = "acceptance-key"


def sample(name: str) -> dict[str, Any]:
    return json.loads((SAMPLES / name).read_text())


def report(name: str) -> bytes:
    """The bytes Vapi would send: the samples are indented to be read, Vapi sends compact JSON."""
    return json.dumps(sample(f"end-of-call-report-{name}.json"), separators=(",", ":"), ensure_ascii=False).encode()


def fresh_report(name: str) -> bytes:
    """The same for a call that has just ended: the samples' deadlines have long passed."""
    told = sample(f"end-of-call-report-{name}.json")
    told["message"]["endedAt"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps(told).encode()


@dataclass
class Vapi:
    """An API that serves the calls given to it, to whoever has a good key, or answers with `status` instead."""

    url: str = ""
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: set[str] = field(default_factory=lambda: {KEY})
    status: int = 200
    poisoned: dict[str, int] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        call_id = request.match_info.get("id", "")
        if call_id:
            self.fetched.append(call_id)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.keys:
            return web.json_response({"message": "Invalid Key.", "statusCode": 401}, status=401)
        if self.status != 200:
            return web.json_response({"message": "trouble", "statusCode": self.status}, status=self.status)
        if call_id in self.poisoned:
            return web.json_response({"message": "Internal server error"}, status=self.poisoned[call_id])
        if not call_id:
            return web.json_response(list(self.calls.values())[:1])
        if call_id not in self.calls:
            return web.json_response({"message": "Not found", "statusCode": 404}, status=404)
        return web.json_response(self.calls[call_id])


@pytest.fixture
async def vapi() -> AsyncIterator[Vapi]:
    served = Vapi()
    app = web.Application()
    app.router.add_get("/call/{id}", served.answer)
    app.router.add_get("/call", served.answer)
    async with listening(app) as served.url:
        yield served


class Installation:
    """The roles as real processes on a broker, each under its own user there, and a plain AMQP client beside them."""

    def __init__(
        self, amqp_url: str, vapi_url: str, start: Callable[..., RunningProcess], users: Users | None = None
    ) -> None:
        self.amqp_url = amqp_url
        self._users = users
        self._start = start
        self.port, self._webhook_probes, self._enrich_probes = free_ports(3)
        self.environment = {
            "AFTERCALL_AMQP_URL": amqp_url,
            "AFTERCALL_VAPI_BASE_URL": vapi_url,
            "AFTERCALL_VAPI_API_KEY": KEY,
            "AFTERCALL_VAPI_RATE": "500",
            "AFTERCALL_WEBHOOK_SECRETS": SECRET,
            "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
            "AFTERCALL_WEBHOOK_PORT": str(self.port),
            "AFTERCALL_RETRY_TIERS_S": "1,2,4",
        }

    def start_as(self, *before: str, command: tuple[str, ...], **environment: str) -> RunningProcess:
        """A role behind another command, which makes it less than we are."""
        return self._start(*before, AFTERCALL, *command, environment=self.environment | environment)

    def start(self, *command: str, **environment: str) -> RunningProcess:
        probes = self._enrich_probes if command[0] == "consume" else self._webhook_probes
        settings = self.environment_of(*command, **{"AFTERCALL_ADMIN_PORT": str(probes)} | environment)
        return self._start(AFTERCALL, *command, environment=settings)

    def environment_of(self, *command: str, **environment: str) -> dict[str, str]:
        """The environment of a command: with the user of its role, where users can be made."""
        settings = self.environment | environment
        return settings if self._users is None else self._users.environment_of(command, settings)

    async def started(self, *command: str, **environment: str) -> RunningProcess:
        """The role, once it says that it is ready and, since the endpoint is without one, has its broker."""
        process = self.start(*command, **environment)
        await process.wait_for_line("broker.connected")
        await process.wait_for_url(self.probe(command[0], "readyz"))
        return process

    def probe(self, role: str, path: str) -> str:
        return f"http://127.0.0.1:{self._enrich_probes if role == 'consume' else self._webhook_probes}/{path}"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks/vapi"

    async def post(self, body: bytes, *, account: str = "", secret: str = SECRET) -> int:
        url = f"{self.endpoint}/{account}" if account else self.endpoint
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, data=body, headers={"Authorization": f"Bearer {secret}"}) as answer,
        ):
            return answer.status

    async def take(self, queue: str, count: int = 1) -> list[AbstractIncomingMessage]:
        """Take `count` messages from a queue."""
        taken: list[AbstractIncomingMessage] = []
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            waiting = await channel.get_queue(queue, ensure=False)

            async def enough() -> bool:
                while message := await waiting.get(fail=False, no_ack=True):
                    taken.append(message)
                return len(taken) >= count

            await eventually(enough)
        return taken

    async def depth(self, queue: str) -> int:
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0


@pytest.fixture
def installation(
    broker: Broker, amqp_url: str, vapi: Vapi, start_process: Callable[..., RunningProcess], tmp_path: Path
) -> Installation:
    return Installation(amqp_url, vapi.url, start_process, Users(broker.management_url or "", tmp_path))
