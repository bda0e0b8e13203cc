"""Marked calls, secrets and errors through every path there is: nothing of them is in any log, metric or span."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aio_pika
import aiohttp
import pytest

from tests.acceptance.conftest import Installation
from tests.acceptance.marked import (
    CRM_TOKEN,
    MARK,
    NUMBER,
    VAPI_KEY,
    WEBHOOK_SECRET,
    WORDS,
    QuotingVapi,
    marks_in,
    report_of,
    servers,
)
from tests.collector import Collector, collecting
from tests.processes import AFTERCALL, RunningProcess, eventually
from worker.simulate.rabbitmq import free_ports

KINDS = ("happy", "late", "gone", "refused", "broken", "odd", "html", "other", "shape")
SIGNS = f"whsec_{base64.b64encode(f'hush{MARK}-forward'.encode() * 2).decode()}"
BEARER = {"Authorization": f"Bearer {WEBHOOK_SECRET}"}
Start = Callable[..., RunningProcess]
PASSED = {
    *("webhook.accepted", "webhook.parked", "webhook.misdirected", "webhook.refused", "webhook.spooled"),
    *("delivery.settled", "breaker.opened", "sweep.finished", "library.logged", "broker.lost"),
    *("forward.stopped", "forward.paused", "alert.raised", "alert.untold"),
}

OWN = """
from consumers import Reject, Retry

class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("unspeakable")

async def handle(call):
    kind = call.call_id.partition("-")[0]
    if kind == "happy":
        raise ValueError(f"cannot bill {call}")
    if kind == "late":
        raise KeyError(call.call["transcript"])
    if kind == "refused":
        raise ExceptionGroup(call.call["summary"], [RuntimeError(repr(call.call))])
    if kind == "shape":
        raise Unspeakable(call.call)

def plain(call):
    raise TypeError(f"cannot bill {call.call}")
"""
TOML = """
[crm.call_properties]
hs_call_duration = "call.metadata.note"

[alerts]
group_wait_s = 1

[[alerts.rules]]
name = "any call"
measure = "calls"
window_s = 60
above = 0

[[alerts.rules]]
name = "each"
result = ["failed", "completed", "unreached", "unknown"]
"""
FORWARD = """
[forward.{name}]
url = "{url}"
allow_private = true
"""


class House:
    """The processes of the test, with what each of them prints."""

    def __init__(
        self, start: Start, environment: dict[str, str], folder: Path, vapi: QuotingVapi, collector: Collector
    ) -> None:
        self._start = start
        self.environment = environment
        self.folder = folder
        self.vapi = vapi
        self.collector = collector
        self.processes: list[RunningProcess] = []
        self.admin: list[str] = []

    async def start(self, *command: str, **changes: str) -> int:
        """Start a role; the port of its endpoint."""
        port, admin = free_ports(2)
        own = {"WEBHOOK_PORT": str(port), "ADMIN_PORT": str(admin)} | changes
        environment = self.environment | {f"AFTERCALL_{key}": value for key, value in own.items()}
        process = self._start(AFTERCALL, *command, environment=environment)
        self.processes.append(process)
        self.admin.append(f"http://127.0.0.1:{admin}/metrics")
        await process.wait_for_url(f"http://127.0.0.1:{admin}/readyz")
        return port

    async def command(self, *arguments: str) -> tuple[str, str]:
        """What a command prints: results, and the rest."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
        process = await asyncio.create_subprocess_exec(
            *(AFTERCALL, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=inherited | self.environment | {"AFTERCALL_ADMIN_PORT": "0"},
            cwd=self.folder,
        )
        out, err = await process.communicate()
        return out.decode(), err.decode()

    async def metrics(self) -> str:
        return "".join(
            [(await each.wait_for_url(url)).decode() for each, url in zip(self.processes, self.admin, strict=True)]
        )

    @property
    def logs(self) -> str:
        return "\n".join(process.text() for process in self.processes)

    def settled(self) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.logs.splitlines() if "delivery.settled" in line]
        return [line for line in lines if line["outcome"] != "unsettled"]


@pytest.fixture
async def house(installation: Installation, start_process: Start, tmp_path: Path) -> AsyncIterator[House]:
    vapi = QuotingVapi()
    async with servers(vapi) as address, collecting() as collector:
        environment = installation.environment | {
            "AFTERCALL_SUBSCRIBERS": "ledger,postcall,crm,forward,alerts",
            "AFTERCALL_VAPI_BASE_URL": f"http://{address}/vapi",
            "AFTERCALL_VAPI_API_KEY": VAPI_KEY,
            "AFTERCALL_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "AFTERCALL_CRM_TOKEN": CRM_TOKEN,
            "AFTERCALL_CRM_BASE_URL": f"http://{address}",
            "AFTERCALL_FORWARD_SECRETS": f"refuses={SIGNS},fails=X-Api-Key: hush{MARK}-header",
            "AFTERCALL_ALERTS_URLS": f"json://user:hush{MARK}-alerts@{address}/quoting/500/hush{MARK}-path",
            "AFTERCALL_RETRY_TIERS_S": "1",
            "AFTERCALL_EMIT_AFTER_S": "2",
            "AFTERCALL_GIVE_UP_AFTER_S": "4",
            "AFTERCALL_SWEEP_EVERY_S": "1",
            "AFTERCALL_SWEEP_GRACE_S": "1",
        }
        targets = {
            "refuses": f"http://{address}/quoting/400/hush{MARK}-path?number={NUMBER}",
            "fails": f"http://{address}/quoting/500/x?token=hush{MARK}",
            "gone": f"http://{address}/quoting/410/x",
            "elsewhere": f"http://{address}/quoting/302/x",
            "away": f"http://127.0.0.1:1/hush{MARK}?token=hush{MARK}-token",
        }
        tables = "".join(FORWARD.format(name=name, url=url) for name, url in targets.items())
        (tmp_path / "aftercall.toml").write_text(TOML + tables + "\n[subscribers.own]\n[subscribers.plain]\n")
        (tmp_path / "own.py").write_text(OWN)
        environment["AFTERCALL_CONFIG"] = str(tmp_path / "aftercall.toml")
        environment |= collector.environment
        yield House(start_process, environment, tmp_path, vapi, collector)


async def post(port: int, body: bytes, path: str = "", **headers: str) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"http://127.0.0.1:{port}/webhooks/vapi{path}", data=body, headers=BEARER | headers) as answer,
    ):
        return answer.status


async def abuse(port: int) -> None:
    """Every answer of the endpoint, each to something that is marked."""
    for body in (WORDS.encode(), b'{"message": {"note": "%b"}}' % WORDS.encode(), report_of("")):
        assert await post(port, body) == 200
    assert await post(port, report_of("x" * 200, note=WORDS)) == 200
    assert await post(port, report_of("tool", type="tool-calls")) == 200
    assert await post(port, report_of("new", type=WORDS)) == 200
    assert await post(port, report_of("x"), Authorization=f"Bearer hush{MARK}-wrong") == 401
    assert await post(port, report_of("x"), f"/zebulon{MARK}") == 404
    assert await post(port, report_of("x"), **{"Content-Encoding": f"zip{MARK}"}) == 415
    assert await post(port, report_of("x"), f"?number={NUMBER}&token=hush{MARK}") == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST /{WORDS} HTTP/1.1\r\nX {WORDS}: {WORDS}\r\n\r\n{WORDS}".encode())
    assert b" 400 " in await reader.readline()
    writer.close()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST /webhooks/vapi HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{WORDS}".encode())
    writer.close()


async def publish(amqp_url: str, key: str, body: bytes) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("calls", ensure=False)
        await exchange.publish(aio_pika.Message(body, type="call.ended"), key)


async def test_nothing_private_is_in_any_log_metric_or_span_whatever_happens(
    house: House, installation: Installation, tmp_path: Path
) -> None:
    away = {"AMQP_URL": f"amqp://user:hush{MARK}-amqp@127.0.0.1:1/", "SPOOL_DIR": str(tmp_path / "s")}
    port, spooling, *_ = await asyncio.gather(
        house.start("all"),
        house.start("webhook", SPOOL_MAX_BYTES="200000", **away),
        house.start("consume", "own:handle", "--queue", "own"),
        house.start("consume", "own:plain", "--queue", "plain"),
    )
    await abuse(port)
    for kind in KINDS:
        assert await post(port, report_of(f"{kind}-1")) == 200
    for body in (WORDS.encode(), json.dumps({"message": WORDS}).encode(), report_of("x", type=WORDS)):
        await publish(installation.amqp_url, "call.ended.default", body)
    await publish(installation.amqp_url, "call.enriched.default.completed.x", WORDS.encode())
    await publish(installation.amqp_url, "call.noted.default.swept", WORDS.encode())
    assert {await post(spooling, report_of(f"happy-{number}")) for number in range(30)} == {200, 503}

    def done() -> bool:
        settled = house.settled()
        by_queue = {(line["queue"], line["outcome"]) for line in settled}
        return (
            {
                ("calls.enrich.default", "acked"),
                ("calls.enrich.default", "retried"),
                ("calls.enrich.default", "dead_lettered"),
                ("calls.crm", "dead_lettered"),
                ("calls.forward", "retried"),
                ("calls.own", "retried"),
                ("calls.own", "dead_lettered"),
                ("calls.plain", "dead_lettered"),
                ("calls.ledger", "dead_lettered"),
                ("calls.postcall", "dead_lettered"),
            }
            <= by_queue
            and "alert.untold" in house.logs
            and "forward.stopped" in house.logs
        )

    await eventually(done)
    house.vapi.is_refusing = True
    await post(port, report_of("refusing-1"))
    await eventually(lambda: "breaker.opened" in house.logs)
    commands = (
        *(("config",), ("doctor",), ("explain", "gone-1"), ("sweep", "--once"), ("calls", "list"), ("dead", "list")),
        *(("dead", "replay", "--queue", "crm"), ("dead", "discard", "--queue", "own", "--yes")),
    )
    told = await asyncio.gather(*(house.command(*each) for each in commands))

    events = {json.loads(line)["event"] for line in house.logs.splitlines() if line.startswith("{")}
    assert events >= PASSED, f"not passed: {PASSED - events}"
    leaks = {f"$ aftercall {' '.join(each)}": marks_in(err) for each, (_, err) in zip(commands, told, strict=True)}
    leaks |= {"results of config and doctor": marks_in(told[0][0] + told[1][0])}
    leaks |= {f"log of process {n}": marks_in(each.text()) for n, each in enumerate(house.processes)}
    leaks |= {"metrics": marks_in(await house.metrics())}
    leaks |= {"spans": marks_in("\n".join(map(str, house.collector.spans)))}
    assert {each.attributes.get("aftercall.outcome") for each in house.collector.spans} >= {"retried", "dead_lettered"}
    assert {name: lines for name, lines in leaks.items() if lines} == {}
