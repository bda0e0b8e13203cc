"""What the adversary can do. Each fault is done, lasts so many seconds, and is undone; two lanes strike at once."""

import asyncio
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Final

import msgspec

from worker.simulate.api.routes import Trouble
from worker.simulate.drill import broker_faults, wire_faults
from worker.simulate.drill.plan import Lasting
from worker.simulate.drill.stage import Stage
from worker.simulate.faults import Faults

Do = Callable[[Stage, float], Awaitable[None]]
LIES: Final = Faults.parse("everything=0.4,dropped=0.05,gone=0")


class Fault(msgspec.Struct, frozen=True):
    """A fault: which lane it is in (those of one lane never meet), how long it lasts, and how it is done."""

    lane: str
    lasts_s: Lasting
    do: Do


async def _vapi(stage: Stage, lasts_s: float, trouble: Trouble) -> None:
    stage.vapi.trouble = trouble
    await asyncio.sleep(lasts_s)
    stage.vapi.trouble = Trouble()


async def _vapi_lies(stage: Stage, lasts_s: float) -> None:
    """The calls that end meanwhile are late, missing, cut off, refused, slow and doubled."""
    honest, stage.vapi.faults = stage.vapi.faults, LIES
    await asyncio.sleep(lasts_s)
    stage.vapi.faults = honest


async def _role(stage: Stage, lasts_s: float, name: str, how: str) -> None:
    role = stage.endpoint if name == "endpoint" else stage.worker
    if how == "freeze":
        role.signal(signal.SIGSTOP)
        await asyncio.sleep(lasts_s)
        role.signal(signal.SIGCONT)
        return
    await (role.kill() if how == "kill" else role.stop())
    await asyncio.sleep(lasts_s)
    await role.start()


async def _ledger_locked(stage: Stage, lasts_s: float) -> None:
    """Another program holds the ledger's database."""

    def lock() -> sqlite3.Connection:
        connection = sqlite3.connect(stage.ledger, isolation_level=None, timeout=2, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        return connection

    with closing(await asyncio.to_thread(lock)):
        await asyncio.sleep(lasts_s)


def _of(role: str, how: str, least_s: float, most_s: float) -> Fault:
    return Fault("roles", (least_s, most_s), partial(_role, name=role, how=how))


FAULTS: Final[Mapping[str, Fault]] = {
    "broker-kill": Fault("broker", (0.5, 3), broker_faults.kill),
    "broker-freeze": Fault("broker", (1, 6), broker_faults.freeze),
    "connections-closed": Fault("broker", (3, 6), broker_faults.close_connections),
    "memory-alarm": Fault("broker", (2, 5), broker_faults.memory_alarm),
    "queue-unbound": Fault("broker", (1, 4), broker_faults.unbind_queue),
    "queue-deleted": Fault("broker", (1, 3), broker_faults.delete_queue),
    "exchange-deleted": Fault("broker", (1, 3), broker_faults.delete_exchange),
    "wire-cut": Fault("broker", (1, 4), wire_faults.cut),
    "wire-cut-before-ack": Fault("broker", (0.5, 1.5), wire_faults.cut_before_ack),
    "wire-black-hole": Fault("broker", (2, 7), wire_faults.black_hole),
    "wire-half-open": Fault("broker", (2, 7), wire_faults.half_open),
    "disk-full": Fault("broker", (2, 5), wire_faults.fill_disk),
    "worker-kill": _of("worker", "kill", 0, 2),
    "worker-stop": _of("worker", "stop", 0, 2),
    "worker-freeze": _of("worker", "freeze", 2, 5),
    "endpoint-kill": _of("endpoint", "kill", 0, 1),
    "endpoint-stop": _of("endpoint", "stop", 0, 1),
    "vapi-closed": Fault("roles", (1, 5), partial(_vapi, trouble=Trouble(down="closed"))),
    "vapi-503": Fault("roles", (1, 5), partial(_vapi, trouble=Trouble(down="503"))),
    "vapi-slow": Fault("roles", (2, 6), partial(_vapi, trouble=Trouble(latency_s=2.0))),
    "vapi-refuses": Fault("roles", (1, 5), partial(_vapi, trouble=Trouble(refuse_key=True))),
    "vapi-lies": Fault("roles", (2, 6), _vapi_lies),
    "ledger-locked": Fault("roles", (2, 7), _ledger_locked),
}
LANES: Final = ("broker", "roles")
