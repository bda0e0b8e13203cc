"""The endpoint's parts: its publisher and spool, the drain between them, the accounts' checks, and the public port."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from consumers.messages import END_OF_CALL_REPORT, WEBHOOK
from worker.broker.publisher import Publisher
from worker.cli.running.process import Process
from worker.ingress.callers import Callers, Refusals, networks
from worker.ingress.connections import Connections
from worker.ingress.endpoint import Endpoint
from worker.ingress.signature import checker
from worker.ingress.spool.drain import Drain
from worker.ingress.spool.keeper import Gate, Keeper
from worker.ingress.spool.writer import Spool, SpoolFailed
from worker.ingress.webhook import REASONS, application
from worker.operate import tracing
from worker.operate.telemetry import (
    CONNECTIONS,
    DEAD_LETTERS,
    SPOOL_BYTES,
    SPOOL_FAILING,
    SPOOL_MAX_BYTES,
    SPOOL_NOTIFICATIONS,
    SPOOL_OLDEST_SECONDS,
    SPOOL_SET_ASIDE,
    WEBHOOKS,
    at_zero,
    logger,
)
from worker.operate.words import in_words
from worker.settings import Settings, SettingsError

PUBLISH_S: Final = 2.0
"""Vapi waits 20 s for an answer by default; what takes longer than this is trouble."""


async def start_endpoint(process: Process) -> None:
    """Serve the endpoint."""
    settings = process.settings
    for account in settings.accounts:
        if account.is_insecure:
            logger().warning("webhook.insecure", account=account.name, detail="anyone can post: the check is off")
    _count_from_zero(settings)
    endpoint = Endpoint(
        checks={account.name: checker(account) for account in settings.accounts},
        accept=tracing.publishing((await _start_keeper(process)).accept),
        max_body_bytes=settings.webhook_max_body_bytes,
        notes=settings.keeps_ledger,
        callers=Callers(networks(settings.webhook_allow), networks(settings.webhook_trusted_proxies)),
        refusals=Refusals(settings.webhook_refusals_per_minute),
        connections=(connections := Connections(settings.webhook_max_connections)),
    )
    CONNECTIONS.set_function(lambda: connections.count)
    app = tracing.serving(application(endpoint))
    host, port, grace_s = settings.webhook_host, settings.webhook_port, settings.grace_s
    await process.listen(app, host, port, grace_s, key="AFTERCALL_WEBHOOK_PORT", connections=connections)


def _count_from_zero(settings: Settings) -> None:
    at_zero(WEBHOOKS, (each.name for each in settings.accounts), (END_OF_CALL_REPORT,), ("200", "503"))
    at_zero(DEAD_LETTERS, (WEBHOOK,), REASONS)


async def _start_keeper(process: Process) -> Keeper:
    """The way of accepted messages onto a disk; at the end stop the drain, then the spool, then the session."""
    publisher = process.open_publisher("webhook", PUBLISH_S, is_patient=False)
    spool = await _open_spool(process.settings)
    process.stack.push_async_callback(spool.close)
    _measure(spool)
    SPOOL_MAX_BYTES.set(process.settings.spool_max_bytes)
    gate = Gate(publisher.session.ready.is_set)
    _start_drain(process, Drain(spool, tracing.publishing(publisher.publish), gate, publisher.unblocked))
    _check_either(process, publisher, spool)
    return Keeper(publisher.publish, spool.keep, gate)


async def _open_spool(settings: Settings) -> Spool:
    spool = Spool(Path(settings.spool_dir), settings.spool_max_bytes)
    try:
        await spool.open()
    except SpoolFailed as error:
        why = f"AFTERCALL_SPOOL_DIR: {settings.spool_dir} cannot be used ({in_words(error.__cause__ or error)})"
        raise SettingsError([f"{why}: name a folder on a local disk that this user may write to"]) from error
    return spool


def _start_drain(process: Process, drain: Drain) -> None:
    running = asyncio.ensure_future(drain.run())

    async def finish() -> None:
        drain.stop()
        with suppress(Exception):  # an unforeseen end was told of below
            await running

    process.run(running, "drain")
    process.stack.push_async_callback(finish)


def _check_either(process: Process, publisher: Publisher, spool: Spool) -> None:
    """The endpoint is ready while the broker or the spool can take a call, so the broker alone is no check of it."""

    async def can_take() -> bool:
        return publisher.session.ready.is_set() or not spool.trouble

    del process.checks["webhook publishes"]
    process.checks["broker or spool takes calls"] = can_take


def _measure(spool: Spool) -> None:
    def oldest_s() -> float:
        oldest_at = spool.totals.oldest_at
        return 0.0 if oldest_at is None else max(0.0, time.time() - oldest_at)

    SPOOL_NOTIFICATIONS.set_function(lambda: spool.totals.waiting)
    SPOOL_OLDEST_SECONDS.set_function(oldest_s)
    SPOOL_BYTES.set_function(lambda: spool.totals.size)
    SPOOL_SET_ASIDE.set_function(lambda: spool.totals.aside)
    SPOOL_FAILING.set_function(lambda: bool(spool.trouble))
