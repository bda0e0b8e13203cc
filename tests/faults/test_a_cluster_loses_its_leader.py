import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError

from consumers.messages import EVENTS, Message
from tests.faults.cluster import Cluster
from tests.faults.conftest import QUEUE, SECRET, settle
from tests.processes import AFTERCALL, RunningProcess, eventually
from worker.broker.declare import apply
from worker.broker.publisher import Publisher, PublishFailed
from worker.broker.topology import topology_of
from worker.settings import Secret, load
from worker.simulate.rabbitmq import free_ports
from worker.simulate.vapi import SimulatedVapi, SimulatorSettings

pytestmark = [pytest.mark.alone, pytest.mark.timeout(360), pytest.mark.asyncio(loop_scope="session")]
Start = Callable[..., RunningProcess]
KEY = "cluster-key"
NOTIFICATION = Message(exchange=EVENTS, routing_key="call.ended.default", body=b"{}", type="call.ended")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cluster")) as joined:
        yield joined


class Installation:
    """The endpoint and the enricher on a cluster, and a Vapi that ends calls."""

    def __init__(self, cluster: Cluster, folder: Path, start: Start) -> None:
        self._cluster = cluster
        self._start = start
        port, self._webhook, self._consume = free_ports(3)
        url = f"http://127.0.0.1:{port}/webhooks/vapi"
        self.vapi = SimulatedVapi(
            SimulatorSettings(api_key=KEY, webhook_url=url, signer=_sign, rate=30, count=150, size_bytes=4000)
        )
        self._environment = {
            "AFTERCALL_AMQP_URL": cluster.urls,
            "AFTERCALL_VAPI_API_KEY": KEY,
            "AFTERCALL_VAPI_RATE": "500",
            "AFTERCALL_WEBHOOK_SECRETS": SECRET,
            "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
            "AFTERCALL_WEBHOOK_PORT": str(port),
            "AFTERCALL_SPOOL_DIR": str(folder / "spool"),
            "AFTERCALL_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
            "AFTERCALL_RETRY_TIERS_S": "1,2,4",
        }

    async def started(self, *command: str) -> RunningProcess:
        probes = self._webhook if command[0] == "webhook" else self._consume
        own = {"AFTERCALL_ADMIN_PORT": str(probes), "AFTERCALL_VAPI_BASE_URL": self.vapi.url}
        process = self._start(AFTERCALL, *command, environment=self._environment | own)
        await process.wait_for_url(f"http://127.0.0.1:{probes}/readyz")
        return process

    def sent(self, at_least: int) -> bool:
        return sum(bool(call.webhooks) for call in self.vapi.account.calls.values()) >= at_least

    async def all_are_enriched(self) -> None:
        """Every call of the load was answered with 200, and has come out."""
        await self.vapi.finish()
        calls = self.vapi.account.calls
        assert {sent.status for call in calls.values() for sent in call.webhooks} == {200}
        found: set[str] = set()

        async def all_of_them() -> bool:
            with suppress(AMQPError):  # what RabbitMQ 4.3 answers while the queue has no leader
                await self._take_into(found)
            return found >= calls.keys()

        # A replica that lost its leader may wait out the heartbeats before it knows, and a reconnect after them.
        await eventually(all_of_them, 110)

    async def _take_into(self, found: set[str]) -> None:
        node = next(each for each in self._cluster.nodes if each.is_running)
        async with await aio_pika.connect(node.home.url) as connection:
            waiting = await (await connection.channel()).get_queue("calls.postcall", ensure=False)
            while message := await waiting.get(fail=False, timeout=10):
                found.add(str(message.correlation_id))
                await message.ack()


def _sign(_method: str, _url: str, _body: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRET}"}


async def test_26_the_leader_of_the_queue_is_killed_under_load(
    cluster: Cluster, tmp_path: Path, start_process: Start
) -> None:
    installation = Installation(cluster, tmp_path, start_process)
    await installation.started("webhook")
    await settle()
    async with installation.vapi:
        await installation.started("consume", "enrich")
        await eventually(lambda: installation.sent(30))

        leader = await cluster.leader_of(QUEUE)
        await cluster.kill(leader)

        await installation.all_are_enriched()
    leader.start()
    assert await leader.answers()


async def test_26_a_publisher_that_begins_while_there_is_no_leader_is_not_refused_for_ever(cluster: Cluster) -> None:
    topology = topology_of(load({}))
    async with await aio_pika.connect(cluster.nodes[0].home.url) as connection:
        await apply(connection, topology)
    await settle()
    leader = await cluster.leader_of(QUEUE)
    follower = next(node for node in cluster.nodes if node is not leader)
    publisher = Publisher(Secret(follower.home.url), name="t", timeout_s=5, is_patient=True, set_up=_nothing)
    session = asyncio.create_task(publisher.session.run())
    await publisher.session.ready.wait()

    await cluster.kill(leader)

    async def takes() -> bool:
        with suppress(PublishFailed):  # RabbitMQ 3.10 refuses the first, 4.3 keeps it until there is a leader
            await publisher.publish(NOTIFICATION)
            return True
        return False

    await eventually(takes)
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)
    leader.start()
    assert await leader.answers()


async def _nothing(_connection: AbstractConnection, _channel: AbstractChannel) -> None:
    """The topology is there."""


async def test_27_with_a_minority_left_the_spool_takes_all_and_the_majority_brings_it_out(
    cluster: Cluster, tmp_path: Path, start_process: Start
) -> None:
    installation = Installation(cluster, tmp_path, start_process)
    endpoint = await installation.started("webhook")
    await settle()
    async with installation.vapi:
        enricher = await installation.started("consume", "enrich")
        await eventually(lambda: installation.sent(20))

        dead = cluster.nodes[1:]
        for node in dead:
            await cluster.kill(node)
        await endpoint.wait_for_line("webhook.spooled")
        await eventually(lambda: installation.sent(150))
        for node in dead:
            node.start()
        for node in dead:
            assert await node.answers()

        await installation.all_are_enriched()
    assert enricher.exit_code is None
