"""The commands of README.md and of pages in docs/, run as they stand, the numbers of ports aside."""

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import aio_pika
import pytest
from yarl import URL

from tests.pages import HERE, SETTING, Block, blocks
from tests.processes import AFTERCALL, RunningProcess, eventually
from worker.broker.rights import refused_rights
from worker.broker.topology import topology_of
from worker.broker.users import users_of
from worker.settings import load
from worker.simulate.rabbitmq import Broker, PrivateNode, free_ports

README = HERE / "README.md"
KEY = "call.enriched.default.completed.customer-ended"
TIER_S = 8
FASTER = "sleep() { command sleep 6; }\n"
"""RabbitMQ counts every five seconds; the page waits for ten."""


def runnable(page: Path) -> Iterator[Block]:
    return (block for block in blocks(page) if block.mark == "run")


def block_with(page: Path, words: str) -> str:
    (block,) = [block for block in blocks(page) if words in block.text]
    return block.text


async def test_the_readme_leads_from_nothing_to_calls_at_a_subscriber_of_ones_own(
    broker: Broker, amqp_url: str, start_process: Callable[..., RunningProcess], tmp_path: Path
) -> None:
    endpoint, vapi = free_ports(2)
    (tmp_path / "billing.py").write_text(block_with(README, "async def handle(call: EnrichedCall)"))
    (tmp_path / "aftercall.toml").write_text(block_with(README, "[subscribers.billing]"))
    environment = {
        "AFTERCALL_AMQP_URL": amqp_url,
        "AFTERCALL_AMQP_MANAGEMENT_URL": broker.management_url or "",
        "AFTERCALL_WEBHOOK_PORT": str(endpoint),
        "AFTERCALL_VAPI_RATE": "500",
        "AFTERCALL_VAPI_BASE_URL": f"http://127.0.0.1:{vapi}",
    }
    started = {}
    for line in "\n".join(block.text for block in runnable(README)).split("\n"):
        words = shlex.split(line, comments=True)
        settings = dict(word.split("=", 1) for word in words if SETTING.match(word))
        if words[0] == "export":
            environment |= settings
            continue
        arguments = [word for word in words if not SETTING.match(word)][1:]
        if arguments[0] == "simulate":
            arguments += ["--port", str(vapi), "--webhook-url", f"http://127.0.0.1:{endpoint}/webhooks/vapi"]
        (admin,) = free_ports(1)
        own = {**settings, "AFTERCALL_ADMIN_PORT": str(admin)}
        started[arguments[-1]] = start_process(AFTERCALL, *arguments, environment=environment | own)
        if arguments[0] == "consume":  # who types sees it start before the next line is typed
            await started[arguments[-1]].wait_for_url(f"http://127.0.0.1:{admin}/readyz")

    passed = await started["tail"].wait_for_line(r" completed .*([0-9a-f]{8}-[0-9a-f-]{27})")
    await started["billing"].wait_for_line(rf"^{passed[1]} completed")
    for line in "\n".join(block.text for block in runnable(HERE / "docs" / "runbook.md")).split("\n"):
        told = start_process(
            *[{"CALL_ID": passed[1], "aftercall": AFTERCALL}.get(word, word) for word in line.split()],
            environment=environment,
        )
        assert await told.wait() == 0, told.text()


class Calls:
    """Calls that keep coming: each to the exchange `calls`, each tenth to a retry tier for `calls.crm` too."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.events: set[str] = set()
        self.retried: set[str] = set()
        self.are_over = asyncio.Event()

    async def publish(self, exchange: str, key: str, name: str) -> None:
        """Publish until it is confirmed: RabbitMQ 3.10 may break a connection when a queue goes."""
        message = aio_pika.Message(b"{}", message_id=name, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        while True:
            with suppress(aio_pika.exceptions.AMQPError):
                async with await aio_pika.connect(self._url) as connection:
                    channel = await connection.channel(on_return_raises=True)
                    await (await channel.get_exchange(exchange, ensure=False)).publish(message, key, timeout=10)
                    return

    async def go_on(self) -> None:
        """Publish ten a second at the most, until `are_over`."""
        for number in count():
            await self.publish("calls", KEY, f"event-{number}")
            self.events.add(f"event-{number}")
            if number % 10 == 0:
                await self.publish(f"calls.retry.{TIER_S}s", "calls.crm", f"retried-{number}")
                self.retried.add(f"retried-{number}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.are_over.wait(), 0.1)
                return

    async def taken(self, queue: str) -> set[str]:
        """What lies in a queue, taken from it."""
        found = set()
        async with await aio_pika.connect(self._url) as connection:
            source = await (await connection.channel()).get_queue(queue, ensure=False)
            while message := await source.get(no_ack=True, fail=False):
                found.add(message.message_id or "")
        return found


@pytest.fixture
async def upgraded() -> AsyncIterator[PrivateNode]:
    """A node of its own with the management plugin: the page enables another plugin and every feature flag there."""
    async with PrivateNode(management=True) as node:
        yield node


def at(node: PrivateNode) -> dict[str, str]:
    """The environment in which a page's commands reach that node, and are found."""
    return {
        **node.home.environment(),
        "PATH": f"{Path(AFTERCALL).parent}:/usr/lib/rabbitmq/bin:{os.environ['PATH']}",
        "AFTERCALL_AMQP_URL": node.url,
        "AFTERCALL_AMQP_MANAGEMENT_URL": node.management_url or "",
    }


async def test_upgrading_by_the_page_moves_every_message_to_the_new_queues(
    upgraded: PrivateNode, start_process: Callable[..., RunningProcess], tmp_path: Path
) -> None:
    old, new = "[subscribers.billing]\n", "[subscribers.billing-v2]\n"
    settings = tmp_path / "aftercall.toml"
    settings.write_text(old)
    environment = {
        **at(upgraded),
        "AFTERCALL_RETRY_TIERS_S": str(TIER_S),
        "api": f"{upgraded.management_url}/api",
        "vhost": "%2F",
    }
    assert await start_process(AFTERCALL, "topology", "apply", environment=environment).wait() == 0
    settings.write_text(old + new)
    commands = "\n".join(block.text for block in runnable(HERE / "docs" / "upgrading.md"))
    commands = commands.replace(
        "aftercall topology apply", f"aftercall topology apply; echo '{new}' >aftercall.toml", 1
    )

    calls = Calls(upgraded.url)
    await calls.publish("calls.dead", "calls.billing", "letter")
    await calls.publish(f"calls.retry.{TIER_S}s", "calls.billing", "waiting")
    publishing = asyncio.create_task(calls.go_on())
    page = start_process("bash", "-euo", "pipefail", "-c", FASTER + commands, environment=environment)
    try:
        assert await page.wait(within_s=120) == 0, page.text()
    finally:
        calls.are_over.set()
        await publishing

    crm: set[str] = set()

    async def all_are_there() -> bool:
        crm.update(await calls.taken("calls.crm"))
        return calls.events | calls.retried <= crm

    await eventually(all_are_there)
    assert calls.events | {"waiting"} <= await calls.taken("calls.billing-v2")
    assert await calls.taken("calls.billing-v2.dead") == {"letter"}
    assert await calls.taken("calls.unrouted") == set()
    left = (await upgraded.ctl("list_queues", "name")).split()
    assert {"calls.billing", "calls.billing.dead", "calls.crm.aside"}.isdisjoint(left)


async def test_by_the_page_of_security_each_role_has_a_user_with_the_password_of_its_file(
    upgraded: PrivateNode, start_process: Callable[..., RunningProcess], tmp_path: Path
) -> None:
    commands = "\n".join(block.text for block in runnable(HERE / "docs" / "security.md"))
    page = start_process("bash", "-euo", "pipefail", "-c", commands, environment=at(upgraded))
    assert await page.wait() == 0, page.text()

    topology = topology_of(load({}, tmp_path))
    users = {user.name: user for user in users_of(topology).values()}
    passwords = {path.name: path.read_text().strip() for path in (tmp_path / "passwords").iterdir()}
    assert {"aftercall-topology", "aftercall-webhook"} <= passwords.keys() <= users.keys()
    for name, password in passwords.items():
        url = URL(upgraded.url).with_user(name).with_password(password)
        async with await aio_pika.connect(url) as connection:
            assert await refused_rights(connection, topology, users[name]) == []
