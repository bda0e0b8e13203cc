"""Each role's user of the broker: what it has no right to is refused, and what it needs it may do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import aio_pika
import aiohttp
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ProbableAuthenticationError
from yarl import URL

from tests.processes import PATIENCE_S
from worker.broker import declare
from worker.broker.export import access
from worker.broker.rights import refused_rights
from worker.broker.topology import Topology, topology_of
from worker.broker.users import part_of, users_of
from worker.settings import load
from worker.simulate.rabbitmq import Broker

PASSWORD = "a password, with ü"
ROLES = ("webhook", "enrich", "sweep", "ledger", "postcall", "crm", "forward", "alerts", "handler-billing", "all")
OTHERS = ("client-billing", "operator", "tail", "monitor")
PUBLISHED = {  # a routing key of `calls`, and who may publish it
    "call.ended.default": ("webhook", "sweep"),
    "call.enriched.default.completed.customer-ended": ("enrich",),
    "call.amended.default.completed.customer-ended": ("enrich",),
    "call.noted.default.parked": ("webhook",),
    "call.noted.default.swept": ("sweep",),
    "call.noted.default.asked": ("sweep",),
    "call.noted.default.retried": ("enrich", "postcall", "crm", "forward", "alerts", "handler-billing"),
    "call.noted.default.discarded": (),
}
CONSUMED = {  # a queue, and who may take from it
    "calls.enrich.default": ("enrich",),
    "calls.enrich.acme": ("enrich",),
    "calls.ledger": ("ledger",),
    "calls.crm": ("crm",),
    "calls.billing": ("handler-billing", "client-billing"),
    "calls.crm.dead": ("operator",),
    "calls.webhook.dead": ("operator",),
    "calls.unrouted": ("operator",),
    "calls.retry.5s": (),
}
Deed = Callable[[AbstractChannel], Awaitable[object]]


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Topology:
    folder = tmp_path_factory.mktemp("settings")
    (folder / "aftercall.toml").write_text("[subscribers.billing]\n")
    keys = {"VAPI_API_KEY": "k", "ACCOUNTS__ACME__VAPI_API_KEY": "k", "RETRY_TIERS_S": "5,60"}
    keys["SUBSCRIBERS"] = "ledger,postcall,crm,forward,alerts"
    return topology_of(load({f"AFTERCALL_{key}": value for key, value in keys.items()}, folder))


class Installed:
    """A virtual host in which the user `topology` has declared everything, and where every other user is too."""

    def __init__(self, amqp_url: str) -> None:
        self._url = URL(amqp_url)

    @asynccontextmanager
    async def as_(self, role: str) -> AsyncIterator[AbstractChannel]:
        async with await aio_pika.connect(self.url(role)) as connection:
            yield await connection.channel(publisher_confirms=False)

    def url(self, role: str, password: str = PASSWORD) -> str:
        return str(self._url.with_user(f"aftercall-{role}").with_password(password))

    async def is_refused(self, role: str, deed: Deed) -> bool:
        async with asyncio.timeout(PATIENCE_S), self.as_(role) as channel:
            try:
                await deed(channel)
            except ChannelAccessRefused:
                return True
        return False


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installed(broker: Broker, topology: Topology) -> AsyncIterator[Installed]:
    users, vhost = users_of(topology).values(), f"users-{uuid4().hex[:12]}"
    management = URL(broker.management_url or "")
    login = {"Authorization": aiohttp.encode_basic_auth(management.user or "", management.password or "")}
    made = Installed(str(URL(broker.url).with_path(f"/{vhost}")))
    async with aiohttp.ClientSession(management.with_user(None), headers=login, raise_for_status=True) as session:
        await session.put(f"/api/vhosts/{vhost}")
        document = access(users, vhost, {user.name: PASSWORD for user in users})
        keys = {"topic_permissions": document.pop("topic_permissions")}
        await session.post("/api/definitions", json=document)
        async with await aio_pika.connect(made.url("topology")) as connection:
            await declare.apply(connection, topology)
        await session.post("/api/definitions", json=keys)  # RabbitMQ 4.3 wants the exchange to be there
        yield made
        await session.delete(f"/api/vhosts/{vhost}")


def publishing(exchange: str, key: str) -> Deed:
    """In a transaction, which waits for an answer, and is rolled back."""

    async def deed(channel: AbstractChannel) -> None:
        underlay = await channel.get_underlay_channel()
        await underlay.tx_select()
        await underlay.basic_publish(b"{}", exchange=exchange, routing_key=key)
        await underlay.tx_rollback()

    return deed


def getting(queue: str) -> Deed:
    async def deed(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).get(fail=False)

    return deed


@pytest.mark.parametrize("role", [*ROLES, *OTHERS])
async def test_a_role_publishes_its_own_events_and_no_others(installed: Installed, role: str) -> None:
    unbound = ("all", "operator")  # an operator replays whatever nobody took, as it is
    for key, publishers in PUBLISHED.items():
        is_refused = await installed.is_refused(role, publishing("calls", key))
        assert is_refused is (role not in (*publishers, *unbound)), key
    assert await installed.is_refused(role, publishing("", "calls.enrich.default"))
    assert await installed.is_refused(role, publishing("calls.unrouted", ""))
    assert await installed.is_refused(role, publishing("calls.requeue", "calls.crm")) is (role != "operator")


@pytest.mark.parametrize("role", [*ROLES, *OTHERS])
async def test_a_role_takes_from_its_own_queues_and_no_others(installed: Installed, role: str) -> None:
    for queue, takers in CONSUMED.items():
        may = role in takers or (role == "all" and queue in list(CONSUMED)[:5])
        assert await installed.is_refused(role, getting(queue)) is not may, queue


@pytest.mark.parametrize("role", [*ROLES, *OTHERS])
async def test_only_the_user_of_the_topology_declares_binds_or_deletes(installed: Installed, role: str) -> None:
    async def bind(channel: AbstractChannel) -> None:
        await (await channel.get_queue("calls.crm", ensure=False)).bind("calls", "call.ended.#")

    async def unbind(channel: AbstractChannel) -> None:
        await (await channel.get_queue("calls.crm", ensure=False)).unbind("calls", "call.enriched.#")

    deeds: tuple[Deed, ...] = (
        lambda channel: channel.queue_delete("calls.crm"),
        lambda channel: channel.exchange_delete("calls.dead"),
        lambda channel: channel.declare_queue("calls.another", durable=True, arguments={"x-queue-type": "quorum"}),
        lambda channel: channel.declare_exchange("calls.another"),
        bind,
        unbind,
    )
    for deed in deeds:
        assert await installed.is_refused(role, deed)
    if role not in ("crm", "all"):
        assert await installed.is_refused(role, lambda channel: purge(channel, "calls.crm"))


async def purge(channel: AbstractChannel, queue: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).purge()


@pytest.mark.parametrize("role", [*ROLES, *OTHERS, "topology"])
async def test_a_role_that_only_checks_the_topology_can_look_at_all_that_it_rests_upon(
    installed: Installed, topology: Topology, role: str
) -> None:
    user = users_of(topology)[role]
    async with await aio_pika.connect(installed.url(role)) as connection:
        await declare.verify(connection, part_of(topology, [user]))
        assert await refused_rights(connection, topology, user) == []


def test_an_account_more_has_its_queue_looked_at_by_the_endpoint(topology: Topology) -> None:
    part = part_of(topology, [users_of(topology)["webhook"]])
    assert {each.name for each in part.exchanges} == {"calls", "calls.dead"}
    assert {"calls.enrich.default", "calls.enrich.acme"} <= {each.name for each in part.queues}


async def test_one_who_looks_on_sees_calls_and_not_what_leads_to_them(installed: Installed) -> None:
    async def watch(channel: AbstractChannel, pattern: str) -> None:
        queue = await channel.declare_queue("calls.watch.me", exclusive=True, auto_delete=True)
        await queue.bind("calls", pattern)

    assert not await installed.is_refused("tail", lambda channel: watch(channel, "call.enriched.#"))
    assert await installed.is_refused("tail", lambda channel: watch(channel, "call.ended.#"))
    assert await installed.is_refused("tail", lambda channel: watch(channel, "#"))


async def test_a_password_is_the_one_that_was_given(installed: Installed) -> None:
    with pytest.raises(ProbableAuthenticationError):
        await aio_pika.connect(installed.url("webhook", "another"))
