"""One process and what its roles share: settings, topology, sessions, sockets, and the order in which it all stops."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiohttp import web

from consumers.concurrency import MOST
from consumers.settling import Schedule
from worker.broker import declare
from worker.broker.consuming import Consuming, Follow, Outage
from worker.broker.deliver import Handle, Settler
from worker.broker.publisher import Publisher
from worker.broker.session import SetUp
from worker.broker.topology import Topology, topology_of
from worker.broker.users import part_of, users_of
from worker.cli.listening import not_listening
from worker.cli.running.memory import outgrows
from worker.cli.running.stopping import Stopping
from worker.clients.ledger.ledger import Ledger, open_ledger
from worker.clients.vapi import BY_OURSELVES, VapiClient, vapi_session
from worker.ingress.connections import Connections, listening
from worker.operate import tracing
from worker.operate.probes import admin_application
from worker.operate.telemetry import logger
from worker.settings import Account, Settings, SettingsError

CONSUMER_PUBLISH_S: Final = 10.0
Check = Callable[[], Awaitable[bool]]


class Process:
    """What the roles of one process share; what they enter into `stack` is left in the opposite order.

    `checks` are what `/readyz` asks: each thing that must be so, by name. `users` are the roles of those users of the
    broker that have the rights of this process.
    """

    def __init__(self, settings: Settings, stack: AsyncExitStack, users: Iterable[str]) -> None:
        self.settings = settings
        self.topology: Topology = topology_of(settings)
        self._users = [users_of(self.topology)[role] for role in users]
        self.stopping = Stopping(settings.grace_s)
        self.stack = stack
        stack.push_async_callback(self._export_last)
        self.has_started = False
        self.has_failed = False
        self.has_outgrown = False
        self.checks: dict[str, Check] = {}
        self._publisher: Publisher | None = None
        self._clients: dict[str, VapiClient] = {}
        self._ledger: Ledger | None = None

    async def serve_probes(self) -> None:
        """Serve probes and metrics: first of all, so that they say "not ready" until the last moment."""
        host, port = self.settings.admin_host, self.settings.admin_port
        await self.listen(admin_application(self._look), host, port, 1, key="AFTERCALL_ADMIN_PORT")

    async def listen(
        self,
        app: web.Application,
        host: str,
        port: int,
        grace_s: float,
        *,
        key: str,
        connections: Connections | None = None,
    ) -> None:
        """Serve an application until the process stops; requests then have `grace_s` seconds.

        Raises `SettingsError`, which names `key`, if nobody can listen there.
        """
        port_of = listening(app, host, port, grace_s=grace_s, connections=connections or Connections())
        try:
            address, port = await self.stack.enter_async_context(port_of)
        except OSError as error:
            keys = (key.replace("_PORT", "_HOST"), key)
            raise SettingsError([not_listening(error, host, port, keys=keys)]) from error
        logger().info("role.listening", address=address, port=port)

    def run(self, work: Awaitable[None], name: str) -> None:
        """Run `work` until the process stops; if it dies before, so does the process, for another to be started."""
        task = asyncio.ensure_future(work)
        task.add_done_callback(partial(self._end_if_failed, name))
        self.stack.push_async_callback(_cancel, task)

    def publisher(self) -> Publisher:
        """The publisher of all consumers; its first step on the broker is the topology."""
        if self._publisher is None:
            self._publisher = self.open_publisher("consumer", CONSUMER_PUBLISH_S, is_patient=True)
        return self._publisher

    def open_publisher(self, name: str, timeout_s: float, *, is_patient: bool) -> Publisher:
        """A publisher with a session of its own."""
        prepare = self.prepare(self.topology)
        urls = self.settings.amqp_url
        publisher = Publisher(urls, name=name, timeout_s=timeout_s, is_patient=is_patient, set_up=prepare)
        self.run(publisher.session.run(), f"{name} publisher")
        self.checks[f"{name} publishes"] = _async(publisher.session.ready.is_set)
        return publisher

    def consume(
        self,
        queue: str,
        handle: Handle,
        outage: Outage | None = None,
        *,
        then: SetUp | None = None,
        notes: bool = True,
        follow: Follow | None = None,
    ) -> Consuming:
        """Consume a queue until the process stops, and while there is no `outage` of what it rests upon.

        Unless the settings say how many deliveries to have in hand, they `follow`. Each session does `then` last of all
        before it consumes. Without `notes` the ledger is told of no trouble.
        """
        settings, publisher = self.settings, self.publisher()
        schedule = Schedule(settings.retry_tiers_s, settings.give_up_after_s, notes=notes and settings.keeps_ledger)
        consuming = Consuming(
            settings.amqp_url,
            queue=queue,
            prefetch=settings.prefetch,
            publisher=publisher,
            settler=Settler(tracing.handling(handle), tracing.publishing(publisher.publish), schedule),
            set_up=self.prepare(self.topology.only(queue), then),
            outage=outage,
            follow=None if "prefetch" in settings.given else follow,
        )
        self.run(consuming.run(), f"consumer of {queue}")
        self.stack.push_async_callback(self._let_go, consuming)
        self.checks[f"{queue} is consumed"] = consuming.is_consumed
        return consuming

    async def vapi(self, account: Account) -> VapiClient:
        """The client of an account's API: one for all roles of the process, so that they keep one rate."""
        if account.name not in self._clients:
            http = await self.stack.enter_async_context(vapi_session(max(self.settings.prefetch, MOST), BY_OURSELVES))
            client = self._clients[account.name] = VapiClient(account, http)
            self.run(client.breaker.run(), f"breaker of {account.name}")
        return self._clients[account.name]

    async def watch_memory(self) -> None:
        """Stop in order once the process is larger than it may be: better than to be ended in the midst of calls."""
        if await outgrows(self.settings.memory_max_bytes):
            self.has_outgrown = True
            self.stopping.ask()

    async def ledger(self) -> Ledger:
        """The ledger: one for all roles of the process. Raises `SettingsError` for what no waiting mends."""
        if self._ledger is None:
            self._ledger = await self.stack.enter_async_context(open_ledger(self.settings))
        return self._ledger

    def prepare(self, topology: Topology, then: SetUp | None = None) -> SetUp:
        """What a session does first: declare its topology, or verify what it rests upon; `then` what else there is."""
        may_declare = self.settings.topology == "apply"
        step, wanted = (declare.apply, topology) if may_declare else (declare.verify, part_of(topology, self._users))

        async def prepare(connection: AbstractConnection, channel: AbstractChannel) -> None:
            await step(connection, wanted)
            if then is not None:
                await then(connection, channel)

        return prepare

    def _end_if_failed(self, name: str, task: asyncio.Task[None]) -> None:
        if (failure := _failure_of(task)) is not None:
            logger().error("role.failed", part=name, exc_info=failure)
            self.has_failed = True
            self.stopping.ask()

    async def _let_go(self, consuming: Consuming) -> None:
        await consuming.stop(self.stopping.left_s())

    async def _export_last(self) -> None:
        await tracing.stop_tracing(self.stopping.left_s())

    async def _look(self) -> dict[str, bool]:
        is_up = self.has_started and not self.stopping.is_wanted
        answers = await asyncio.gather(*(check() for check in self.checks.values()))
        return {"started and not stopping": is_up, **dict(zip(self.checks, answers, strict=True))}


def _failure_of(task: asyncio.Task[None]) -> BaseException | None:
    """What ended a task; a cancellation only if nobody asked for it, as when a library raises it by itself."""
    try:
        return task.exception()
    except asyncio.CancelledError as error:
        return None if task.cancelling() else error


def _async(check: Callable[[], bool]) -> Check:
    async def asked() -> bool:
        return check()

    return asked


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
