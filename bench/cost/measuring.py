"""Running a role between a broker and an API from memory, and watching it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench.cost.canned import Api, Broker, Tally, call_answer
from bench.cost.driving import Deliveries, Posts, webhook_request
from worker.simulate.processes import Role
from worker.simulate.rabbitmq import free_ports

Part = Literal["enricher", "endpoint"]
ROLES: Final[dict[Part, tuple[str, ...]]] = {"enricher": ("consume", "enrich"), "endpoint": ("webhook",)}
SECRET: Final = "bench"
WARM: Final = 64
REST_S: Final = 0.1
HEARD_S: Final = 10.0
LOOK_EVERY_S: Final = 0.01


class Wanted(msgspec.Struct, frozen=True):
    """What to measure: which part, how, and of how many calls of which size."""

    part: Part
    how: str = "count"
    calls: int = 50
    at_once: int = 1
    size_bytes: int = 20480


async def measure(wanted: Wanted, folder: Path) -> Path:
    """Warm a role up, and watch it for so many calls; the file of its report."""
    report, settled, published = folder / "report", Tally(), Tally()
    answer = call_answer(wanted.size_bytes)
    consumed: asyncio.Future[tuple[Broker, int, str]] = asyncio.get_running_loop().create_future()
    async with (
        _listening(lambda: Broker(settled, published, consumed)) as amqp,
        _listening(lambda: Api(answer)) as api,
    ):
        port, probes = free_ports(2)
        told = _environment(folder, amqp=amqp, api=api, port=port, probes=probes)
        command = (str(report), wanted.how, *ROLES[wanted.part])
        async with Role(*command, environment=told, log=folder / "log", module="bench.cost.watched") as role:
            await role.ready(f"http://127.0.0.1:{probes}/readyz")
            drive: Deliveries | Posts = Posts(port, webhook_request(wanted.size_bytes, SECRET), published)
            if wanted.part == "enricher":
                drive = Deliveries(wanted.size_bytes, settled, *await consumed)
            await _watched(role, drive, wanted, report)
    return report


async def _watched(role: Role, drive: Deliveries | Posts, wanted: Wanted, report: Path) -> None:
    await drive(1, 1)
    await drive(WARM, wanted.at_once)
    await _tell(role, signal.SIGUSR1, report)
    await drive(wanted.calls, wanted.at_once)
    await _tell(role, signal.SIGUSR2, report)
    await drive.close()


async def _tell(role: Role, number: signal.Signals, report: Path) -> None:
    """Let a role come to rest, and signal to it until it has heard."""
    await asyncio.sleep(REST_S)
    role.signal(number)
    async with asyncio.timeout(HEARD_S):
        while not report.with_suffix(f".{number}").exists():  # noqa: ASYNC110  # it can tell no other way
            await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def _listening(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    """A server of that protocol; its port."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _environment(folder: Path, *, amqp: int, api: int, port: int, probes: int) -> dict[str, str]:
    return {
        "AFTERCALL_AMQP_URL": f"amqp://guest:guest@127.0.0.1:{amqp}/",
        "AFTERCALL_VAPI_API_KEY": "bench",
        "AFTERCALL_VAPI_BASE_URL": f"http://127.0.0.1:{api}",
        "AFTERCALL_VAPI_RATE": "100000",
        "AFTERCALL_WEBHOOK_SECRETS": SECRET,
        "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
        "AFTERCALL_WEBHOOK_PORT": str(port),
        "AFTERCALL_ADMIN_PORT": str(probes),
        "AFTERCALL_PREFETCH": "64",
        "AFTERCALL_SUBSCRIBERS": "postcall",
        "AFTERCALL_SPOOL_DIR": str(folder / "spool"),
        "PYTHONHASHSEED": "0",
    }
