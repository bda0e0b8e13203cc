"""The composition root: which parts make a role, in which order they start, and in which they stop."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Final

import uvloop
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiohttp import web
from cyclopts import Parameter

from consumers.drift import drift_of
from consumers.enrich import FetchCall, Policy, enrich
from consumers.enriched import EnrichedCall
from consumers.messages import Delivery, Message
from consumers.notifications import read_notification
from consumers.redaction import redactor
from consumers.settling import Schedule
from consumers.timestamps import instant
from worker.broker import declare
from worker.broker.consuming import Consuming
from worker.broker.deliver import Handle, Settler
from worker.broker.publisher import Publisher
from worker.broker.session import SetUp
from worker.broker.topology import Topology, enrich_queue, topology_of
from worker.cli.exit_codes import USAGE
from worker.cli.output import say
from worker.clients.vapi import VapiClient, vapi_session
from worker.ingress.signature import checker
from worker.ingress.webhook import Endpoint, application
from worker.operate.probes import admin_application
from worker.operate.telemetry import CALL_END_TO_EMIT_SECONDS, DRIFT, logger, start_telemetry
from worker.settings import Settings, SettingsError, load, require

ENDPOINT_PUBLISH_S: Final = 2.0
CONSUMER_PUBLISH_S: Final = 10.0
CONSUMERS: Final = ("enrich",)


def webhook() -> int:
    """Serve the endpoint that Vapi posts to.

    Example: AFTERCALL_WEBHOOK_SECRETS=s3cret aftercall webhook

    It answers 200 once RabbitMQ has the notification on disk. Settings are the environment variables AFTERCALL_…, or
    the same keys in aftercall.toml; `aftercall config` shows them. Probes and metrics are on the admin port.
    """
    return _run(endpoint=True, consumers=())


def consume(*names: Annotated[str, Parameter(help="enrich")]) -> int:
    """Run consumers until told to stop: `enrich` fetches each ended call from Vapi and passes it on, complete.

    Example: AFTERCALL_VAPI_API_KEY=… AFTERCALL_ADMIN_PORT=9091 aftercall consume enrich

    At SIGTERM it takes no more, finishes what it has in hand within AFTERCALL_GRACE_S, and leaves the rest to others.
    """
    if not names or (unknown := sorted(set(names) - set(CONSUMERS))):
        raise SettingsError([f"{', '.join(unknown) if names else 'no name'}: the consumers are {', '.join(CONSUMERS)}"])
    return _run(endpoint=False, consumers=names)


def every_role() -> int:
    """Run every role in one process, for small installations.

    Example: aftercall all
    """
    return _run(endpoint=True, consumers=CONSUMERS)


def _run(*, endpoint: bool, consumers: tuple[str, ...]) -> int:
    settings = load(os.environ)
    require(settings, webhook=endpoint, vapi="enrich" in consumers)
    start_telemetry()
    return uvloop.run(serve(settings, endpoint=endpoint, consumers=consumers))


async def serve(settings: Settings, *, endpoint: bool, consumers: tuple[str, ...]) -> int:
    """Run the roles until SIGTERM or SIGINT; a second signal ends the process at once."""
    stopping = Stopping(settings.grace_s)
    topology = topology_of(settings)
    consuming: list[Consuming] = []
    publishers: list[Publisher] = []
    try:
        # Left in the opposite order: stop listening, finish requests, finish deliveries, close the broker's sessions,
        # and only then the probes, which say "not ready" all the while.
        async with AsyncExitStack() as stack:
            await _serve_probes(settings, publishers, consuming, stopping, stack)
            if consumers:
                publisher = await stack.enter_async_context(_publishing(settings, topology, "consumer"))
                consuming += await _enrichers(settings, topology, publisher, stack)
                publishers.append(publisher)
                await stack.enter_async_context(_consuming(consuming, stopping))
            if endpoint:
                publisher = await stack.enter_async_context(_publishing(settings, topology, "webhook"))
                publishers.append(publisher)
                await _serve_endpoint(settings, publisher, stack)
            stopping.has_started = True
            logger().info("role.started", endpoint=endpoint, consumers=consumers, accounts=len(settings.accounts))
            await stopping.wait()
            logger().info("role.stopping", grace_s=settings.grace_s)
    except OSError as error:
        say(f"Cannot listen: {error}. Set AFTERCALL_WEBHOOK_PORT or AFTERCALL_ADMIN_PORT to free ports.")
        return USAGE
    logger().info("role.stopped")
    return 0


class Stopping:
    """When to stop, by SIGTERM or SIGINT, and how many seconds of the grace are left then."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._event = asyncio.Event()
        self._since = 0.0
        self.has_started = False
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)

    @property
    def is_wanted(self) -> bool:
        """Whether it was asked for."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until it is asked for."""
        await self._event.wait()

    def left_s(self) -> float:
        """The seconds left to finish in."""
        return max(0.0, self._since + self._grace_s - time.monotonic()) if self.is_wanted else self._grace_s

    def _stop(self) -> None:
        if self.is_wanted:
            os._exit(128 + signal.SIGTERM)
        self._since = time.monotonic()
        self._event.set()


@asynccontextmanager
async def _publishing(settings: Settings, topology: Topology, role: str) -> AsyncIterator[Publisher]:
    """A publisher with its session running; its first step on the broker is the topology."""
    is_endpoint = role == "webhook"
    publisher = Publisher(
        settings.amqp_url,
        name=role,
        timeout_s=ENDPOINT_PUBLISH_S if is_endpoint else CONSUMER_PUBLISH_S,
        is_patient=not is_endpoint,
        set_up=_prepare(settings, topology),
    )
    async with _running(publisher.session.run(), "publisher"):
        yield publisher


def _prepare(settings: Settings, topology: Topology) -> SetUp:
    step = declare.apply if settings.topology == "apply" else declare.verify

    async def prepare(connection: AbstractConnection, _channel: AbstractChannel) -> None:
        await step(connection, topology)

    return prepare


@asynccontextmanager
async def _running(work: Awaitable[None], name: str) -> AsyncIterator[None]:
    """Run `work` beside what is inside; cancelled on the way out."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(partial(_end_if_failed, name))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _end_if_failed(name: str, task: asyncio.Future[None]) -> None:
    """A part that dies stops the process, loudly: the orchestrator starts another."""
    if not task.cancelled() and task.exception() is not None:
        logger().error("role.failed", part=name, exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def _consuming(consuming: list[Consuming], stopping: Stopping) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run(), name=f"consume {each.queue}") for each in consuming]
    for task in tasks:
        task.add_done_callback(partial(_end_if_failed, task.get_name()))
    try:
        yield
    finally:
        await asyncio.gather(*(each.stop(stopping.left_s()) for each in consuming))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _enrichers(
    settings: Settings, topology: Topology, publisher: Publisher, stack: AsyncExitStack
) -> list[Consuming]:
    """One consumer for each account's queue, with the account's key and rate."""
    policy = Policy(
        emit_after_s=settings.emit_after_s,
        give_up_after_s=settings.give_up_after_s,
        redact=redactor(settings.redact),
        observe=_observe,
        clock=time.time,
    )
    consuming = []
    for account in settings.accounts:
        http = await stack.enter_async_context(vapi_session(settings.prefetch))
        handle = _enricher(VapiClient(account, http).fetch_call, policy)
        consuming.append(_consumer(settings, topology, publisher, enrich_queue(account.name), handle))
    return consuming


def _enricher(fetch_call: FetchCall, policy: Policy) -> Handle:
    async def handle(delivery: Delivery, now: float) -> tuple[Message, ...]:
        return await enrich(read_notification(delivery, now), fetch_call=fetch_call, policy=policy)

    return handle


def _consumer(settings: Settings, topology: Topology, publisher: Publisher, queue: str, handle: Handle) -> Consuming:
    schedule = Schedule(settings.retry_tiers_s, settings.give_up_after_s, notes="ledger" in settings.subscribers)
    return Consuming(
        settings.amqp_url,
        queue=queue,
        prefetch=settings.prefetch,
        publisher=publisher,
        settler=Settler(handle, publisher.publish, schedule),
        set_up=_prepare(settings, topology.only(queue)),
    )


def _observe(enriched: EnrichedCall) -> None:
    for what in drift_of(enriched):
        DRIFT.labels(what).inc()
    ended_at = instant(enriched.timeline.ended_at)
    if enriched.version == 1 and ended_at is not None:
        CALL_END_TO_EMIT_SECONDS.labels(enriched.provenance.source).observe(max(0.0, time.time() - ended_at))


async def _serve_endpoint(settings: Settings, publisher: Publisher, stack: AsyncExitStack) -> None:
    for account in settings.accounts:
        if account.is_insecure:
            logger().warning("webhook.insecure", account=account.name, detail="anyone can post: the check is off")
    endpoint = Endpoint(
        checks={account.name: checker(account) for account in settings.accounts},
        publish=publisher.publish,
        max_body_bytes=settings.webhook_max_body_bytes,
        notes="ledger" in settings.subscribers,
    )
    await _listen(application(endpoint), settings.webhook_host, settings.webhook_port, settings.grace_s, stack)


async def _serve_probes(
    settings: Settings,
    publishers: list[Publisher],
    consuming: list[Consuming],
    stopping: Stopping,
    stack: AsyncExitStack,
) -> None:
    async def look() -> dict[str, bool]:
        checks = {"started and not stopping": stopping.has_started and not stopping.is_wanted}
        checks |= {"broker takes messages": all(each.session.ready.is_set() for each in publishers)}
        return checks | {f"{each.queue} is consumed": await each.is_consumed() for each in consuming}

    await _listen(admin_application(look), settings.admin_host, settings.admin_port, 1, stack)


async def _listen(app: web.Application, host: str, port: int, grace_s: float, stack: AsyncExitStack) -> None:
    # keepalive longer than a load balancer's idle time (AWS 60 s), so that it is the one to close.
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=grace_s,
        keepalive_timeout=75,
        auto_decompress=False,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, port)
    await site.start()
    logger().info("role.listening", address=str(runner.addresses[0][0]), port=runner.addresses[0][1])
