"""`aftercall sweep`, and the sweep as a task of `aftercall all`: its parts for each account."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import uvloop
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import AMQPError

from consumers.enrich import ApiUnavailable, CallNotFound, CallRefused, CallUnreadable
from consumers.outcomes import DatabaseAway
from worker.broker.publisher import Publisher, PublishFailed
from worker.broker.topology import enrich_queue
from worker.cli.arguments import Flag, seconds_of
from worker.cli.exit_codes import BUG, DONE, TRY_AGAIN
from worker.cli.running.process import Process
from worker.clients.ledger.ledger import open_ledger
from worker.ingress.sweep import Sweeping, forget_gauge
from worker.ingress.sweep import sweep as sweep_account
from worker.operate import tracing
from worker.operate.telemetry import ROLE_INFO, logger, start_telemetry
from worker.settings import Settings, SettingsError, load, require

FAILURES: Final = (
    *(ApiUnavailable, CallNotFound, CallRefused, CallUnreadable),
    *(DatabaseAway, PublishFailed, AMQPError, OSError, TimeoutError),
)
CONNECT_S: Final = 15.0


def sweep(*, once: Flag = False, since: str | None = None) -> int:
    """Find ended calls at Vapi that never came in, and send them in at the front.

    Example: aftercall sweep --once --since 7d

    It asks Vapi for what was updated since the last sweep (the first time, within 24 hours), or since a call that was
    only on its way then (at the most 14 days), and the ledger what of that is accounted for. Exits 0 whatever it found,
    75 if it could not look.

    Parameters
    ----------
    once
        Sweep once and end; otherwise every AFTERCALL_SWEEP_EVERY_S.
    since
        Look at least so far back: 90m, 24h, 7d. Vapi keeps calls of pay-as-you-go accounts for 14 days.

    """
    settings, since_s = load(os.environ), None if since is None else seconds_of(since, "--since")
    require(settings, vapi=True)
    _require_ledger(settings)
    start_telemetry()
    tracing.start_tracing("aftercall-sweep")
    return uvloop.run(_once(settings, since_s) if once else _always(settings, since_s))


async def start_sweep(process: Process) -> None:
    """Sweep every account now and then, as a role of a process."""
    if not process.settings.keeps_ledger:
        logger().warning("sweep.off", detail="AFTERCALL_SUBSCRIBERS has no ledger, which alone knows what came in")
        return
    await _start(process, None)


def _require_ledger(settings: Settings) -> None:
    if not settings.keeps_ledger:
        raise SettingsError(["AFTERCALL_SUBSCRIBERS has no ledger, and only the ledger knows which calls came in"])


async def _start(process: Process, since_s: float | None) -> None:
    accounts = await _accounts(process, since_s)
    process.run(_keep_sweeping(accounts, process.settings.sweep_every_s), "sweep")


async def _keep_sweeping(accounts: list[Sweeping], every_s: float) -> None:
    while True:
        await asyncio.gather(*map(_sweep_account, accounts))
        await asyncio.sleep(every_s * random.uniform(0.9, 1.1))  # noqa: S311  # so that several sweepers part


async def _sweep_account(sweeping: Sweeping) -> bool:
    """Sweep one account; whether it could be: the trouble of one is none of another's, and none of the process."""
    try:
        with tracing.span("sweep", account=sweeping.account):
            return await sweep_account(sweeping) is not None
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        _not_done(sweeping.account, "the connection was closed")  # by aiormq, which cancels those who wait
    except FAILURES as error:
        _not_done(sweeping.account, str(error) or type(error).__name__)
    except Exception as error:  # noqa: BLE001  # a bug in judging one call must not end the process of all roles
        _not_done(sweeping.account, f"{type(error).__name__}: {error}", exc_info=error)
    return False


def _not_done(account: str, why: str, **more: Any) -> None:
    forget_gauge(account)
    logger().warning("sweep.finished", account=account, detail=f"not done: {why}", **more)


async def _once(settings: Settings, since_s: float | None) -> int:
    async with AsyncExitStack() as stack:
        process = Process(settings, stack, ["sweep"])
        accounts = await _accounts(process, since_s)
        sweeping = asyncio.gather(*map(_sweep_account, accounts))
        process.run(_cancel_when_stopping(process, sweeping), "stopping")
        try:
            return DONE if all(await sweeping) else TRY_AGAIN
        except asyncio.CancelledError:
            return TRY_AGAIN


async def _cancel_when_stopping(process: Process, sweeping: "asyncio.Future[list[bool]]") -> None:
    await process.stopping.wait()
    sweeping.cancel()


async def _always(settings: Settings, since_s: float | None) -> int:
    async with AsyncExitStack() as stack:
        process = Process(settings, stack, ["sweep"])
        await process.serve_probes()
        await _start(process, since_s)
        ROLE_INFO.labels("sweep").set(1)
        process.has_started = True
        await process.stopping.wait()
    return BUG if process.has_failed else DONE


async def _accounts(process: Process, since_s: float | None) -> list[Sweeping]:
    settings = process.settings
    books = await process.stack.enter_async_context(open_ledger(settings))
    publisher = process.publisher()
    sweepings = []
    for account in settings.accounts:
        client = await process.vapi(account)
        sweepings.append(
            Sweeping(
                account=account.name,
                list_calls=client.list_calls,
                books=books,
                publish=tracing.publishing(publisher.publish, apart=True),
                backlog=partial(_backlog, publisher, enrich_queue(account.name)),
                grace_s=settings.sweep_grace_s,
                since_s=since_s,
            )
        )
    return sweepings


async def _backlog(publisher: Publisher, queue: str) -> int:
    """How many notifications wait in a queue, as the broker sees it."""
    async with asyncio.timeout(CONNECT_S), _channel(publisher) as channel:
        found = await channel.declare_queue(queue, passive=True)
        return found.declaration_result.message_count or 0


@asynccontextmanager
async def _channel(publisher: Publisher) -> AsyncIterator[AbstractChannel]:
    await publisher.session.ready.wait()
    connection = publisher.session.connection
    if connection is None:
        raise PublishFailed("the broker went away")
    async with connection.channel(publisher_confirms=False) as channel:
        yield channel
