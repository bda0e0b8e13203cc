"""The composition root: `aftercall webhook`, `consume` and `all`; the parts of each role stand in a file beside."""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Final

import uvloop
from cyclopts import Parameter

from worker.cli.endpoint import start_endpoint
from worker.cli.enricher import start_enricher
from worker.cli.exit_codes import BUG, DONE
from worker.cli.ledger import start_ledger
from worker.cli.process import Process
from worker.cli.sweeper import start_sweep
from worker.operate.telemetry import logger, start_telemetry
from worker.settings import Settings, SettingsError, load, require
from worker.settings.fields import SUBSCRIBERS

Start = Callable[[Process], Awaitable[None]]
CONSUMERS: Final[Mapping[str, Start]] = {"enrich": start_enricher, "ledger": start_ledger}


def webhook() -> int:
    """Serve the endpoint that Vapi posts to.

    Example: AFTERCALL_WEBHOOK_SECRETS=s3cret aftercall webhook

    It answers 200 once the notification is on disk, at RabbitMQ or in the spool. Settings are the environment variables
    AFTERCALL_…, or the same keys in aftercall.toml; `aftercall config` shows them. Probes and metrics are on the admin
    port.
    """
    settings = load(os.environ)
    require(settings, webhook=True)
    return _run(settings, {"webhook": start_endpoint})


def consume(*names: Annotated[str, Parameter(help="enrich, ledger")]) -> int:
    """Run consumers until told to stop.

    `enrich` fetches each ended call from Vapi and passes it on, complete. `ledger` writes each event of each call to
    the database of AFTERCALL_LEDGER_URL.

    Example: AFTERCALL_VAPI_API_KEY=… AFTERCALL_ADMIN_PORT=9091 aftercall consume enrich

    At SIGTERM it takes no more, finishes what it has in hand within AFTERCALL_GRACE_S, and leaves the rest to others.
    """
    if not names or (unknown := sorted(set(names) - CONSUMERS.keys())):
        raise SettingsError([f"{', '.join(unknown) if names else 'no name'}: the consumers are {', '.join(CONSUMERS)}"])
    settings = load(os.environ)
    require(settings, vapi="enrich" in names)
    _require_queues(settings, names)
    return _run(settings, {name: CONSUMERS[name] for name in names})


def every_role() -> int:
    """Run every role in one process, for small installations.

    Example: aftercall all
    """
    settings = load(os.environ)
    require(settings, webhook=True, vapi=True)
    wanted = {name: start for name, start in CONSUMERS.items() if _has_queue(settings, name)}
    return _run(settings, {**wanted, "sweep": start_sweep, "webhook": start_endpoint})


def _require_queues(settings: Settings, names: Iterable[str]) -> None:
    if missing := [name for name in names if not _has_queue(settings, name)]:
        told = ", ".join(missing)
        raise SettingsError([f"AFTERCALL_SUBSCRIBERS has no {told}, so nothing is put into that queue: add it there"])


def _has_queue(settings: Settings, name: str) -> bool:
    return name not in SUBSCRIBERS or name in settings.subscribers


def _run(settings: Settings, roles: Mapping[str, Start]) -> int:
    start_telemetry()
    return uvloop.run(serve(settings, roles))


async def serve(settings: Settings, roles: Mapping[str, Start]) -> int:
    """Run the roles until SIGTERM or SIGINT; a second signal ends the process at once."""
    # Left in the opposite order: stop listening, finish requests, finish deliveries, close the broker's sessions, and
    # only then the probes, which say "not ready" all the while.
    async with AsyncExitStack() as stack:
        process = Process(settings, stack)
        await process.serve_probes()
        for start in roles.values():
            await start(process)
        process.has_started = True
        logger().info("role.started", roles=list(roles), accounts=[each.name for each in settings.accounts])
        await process.stopping.wait()
        logger().info("role.stopping", grace_s=settings.grace_s)
    logger().info("role.stopped")
    return BUG if process.has_failed else DONE
