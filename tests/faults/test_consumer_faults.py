"""The fault list's rows for the consumers, with real processes and brokers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aio_pika
import pytest

from consumers.messages import REQUEUE, UNROUTED
from tests.faults.conftest import QUEUE, SECRET, Endpoint, take_all
from tests.processes import AFTERCALL, RunningProcess, eventually
from worker.broker.topology import DELIVERY_LIMIT
from worker.simulate.api.routes import Trouble
from worker.simulate.drill.subscriber import Subscriber
from worker.simulate.rabbitmq import PrivateNode, free_ports
from worker.simulate.vapi import SimulatedVapi, SimulatorSettings

Start = Callable[..., RunningProcess]
KEY = "faults-key"
DEAD = f"{QUEUE}.dead"


def sign(_method: str, _url: str, _body: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
async def vapi(endpoint: Endpoint) -> AsyncIterator[SimulatedVapi]:
    url = f"http://127.0.0.1:{endpoint.port}/webhooks/vapi"
    settings = SimulatorSettings(api_key=KEY, webhook_url=url, signer=sign, size_bytes=4000)
    async with SimulatedVapi(settings) as served:
        yield served


@pytest.fixture
async def environment(node: PrivateNode, vapi: SimulatedVapi, tmp_path: Path) -> dict[str, str]:
    """What a consumer or a command is told; every queue is empty at the start."""
    return {
        "AFTERCALL_AMQP_URL": node.url,
        "AFTERCALL_VAPI_API_KEY": KEY,
        "AFTERCALL_VAPI_BASE_URL": vapi.url,
        "AFTERCALL_VAPI_RATE": "500",
        "AFTERCALL_RETRY_TIERS_S": "1,2,4",
        "AFTERCALL_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db",
        "AFTERCALL_SPOOL_DIR": str(tmp_path / "spool"),
    }


async def started(start: Start, environment: dict[str, str]) -> RunningProcess:
    (probes,) = free_ports(1)
    enricher = start(AFTERCALL, "consume", "enrich", environment=environment | {"AFTERCALL_ADMIN_PORT": str(probes)})
    await enricher.wait_for_url(f"http://127.0.0.1:{probes}/readyz")
    return enricher


async def done(start: Start, environment: dict[str, str], *command: str) -> None:
    process = start(AFTERCALL, *command, environment=environment)
    assert await process.wait() == 0, process.text()


async def depth(url: str, queue: str) -> int:
    async with await aio_pika.connect(url) as connection:
        found = await (await connection.channel()).declare_queue(queue, passive=True)
        return found.declaration_result.message_count or 0


async def holds(url: str, queue: str, count: int) -> bool:
    return await depth(url, queue) == count


async def test_11_a_queue_declared_with_other_arguments_is_a_clear_sentence_and_the_role_is_not_ready(
    amqp_url: str, environment: dict[str, str], start_process: Start
) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        await (await connection.channel()).declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    (probes,) = free_ports(1)
    own = {"AFTERCALL_AMQP_URL": amqp_url, "AFTERCALL_ADMIN_PORT": str(probes)}

    enricher = start_process(AFTERCALL, "consume", "enrich", environment=environment | own)

    await enricher.wait_for_line(f"queue {QUEUE} exists with other arguments")
    await enricher.wait_for_url(f"http://127.0.0.1:{probes}/readyz", status=503)
    assert enricher.exit_code is None


async def test_8_a_broker_that_does_not_speak_tls_is_told_in_words(
    node: PrivateNode, environment: dict[str, str], start_process: Start
) -> None:
    (probes,) = free_ports(1)
    own = {"AFTERCALL_AMQP_URL": node.url.replace("amqp:", "amqps:"), "AFTERCALL_ADMIN_PORT": str(probes)}

    enricher = start_process(AFTERCALL, "consume", "enrich", environment=environment | own)

    await enricher.wait_for_line("TLS with the broker: it speaks no TLS there: check port and scheme")
    await enricher.wait_for_url(f"http://127.0.0.1:{probes}/readyz", status=503)


async def test_13_an_enricher_killed_again_and_again_repeats_itself_only_under_old_event_ids(
    endpoint: Endpoint, node: PrivateNode, vapi: SimulatedVapi, environment: dict[str, str], start_process: Start
) -> None:
    await endpoint.started()
    await take_all(node.url, "calls.postcall")
    subscriber = Subscriber(node.url, "postcall")
    reading = asyncio.ensure_future(subscriber.session.run())
    await vapi.end_calls(150)
    for least in (1, 40, 80):
        enricher = await started(start_process, environment | {"AFTERCALL_VAPI_RATE": "100"})
        await eventually(lambda: len(subscriber.calls) >= least)  # noqa: B023
        await enricher.kill()
    await started(start_process, environment)

    await eventually(lambda: subscriber.calls.keys() >= vapi.account.calls.keys())

    assert not any(seen.is_disguised for seen in subscriber.calls.values())
    assert all(len(seen.events) == 1 for seen in subscriber.calls.values())
    assert max(seen.attempts_max for seen in subscriber.calls.values()) == 1, "a crash spends no attempt"
    reading.cancel()


async def test_14_innocents_in_hand_at_too_many_crashes_are_dead_letters_and_a_replay_restores_them(
    endpoint: Endpoint, node: PrivateNode, environment: dict[str, str], start_process: Start
) -> None:
    await endpoint.started()
    await take_all(node.url)
    await take_all(node.url, DEAD)
    assert await endpoint.post_many(5) == {200: 5}
    async with await aio_pika.connect(node.url) as connection:
        for _ in range(DELIVERY_LIMIT + 1):
            # What a crash does: all that was in hand goes back with the channel, and each counts one delivery.
            async with connection.channel() as channel:
                queue = await channel.get_queue(QUEUE, ensure=False)
                for _ in range(5):
                    await eventually(lambda: queue.get(fail=False))  # noqa: B023
    await eventually(lambda: holds(node.url, DEAD, 5))
    assert await depth(node.url, QUEUE) == 0

    await done(start_process, environment, "dead", "replay", "--queue", QUEUE)

    restored = await take_all(node.url)
    assert {message.correlation_id for message in restored} == set(endpoint.kept)
    assert await depth(node.url, DEAD) == 0


async def test_20_what_waits_for_a_queue_that_is_gone_lies_with_the_unrouted_and_delays_no_other(
    node: PrivateNode, environment: dict[str, str], start_process: Start
) -> None:
    await done(start_process, environment, "topology", "apply")
    await take_all(node.url)
    await take_all(node.url, UNROUTED)
    async with await aio_pika.connect(node.url) as connection:
        tier = await (await connection.channel()).get_exchange("calls.retry.1s", ensure=False)
        # A tier has 32 places for what is on its way back: more than that, or a missing queue would not fill them.
        for _ in range(60):
            await tier.publish(aio_pika.Message(b"homeless"), "calls.enrich.gone")
        for _ in range(10):
            await tier.publish(aio_pika.Message(b"expected"), QUEUE)

    await eventually(lambda: holds(node.url, QUEUE, 10), within_s=8)
    await eventually(lambda: holds(node.url, UNROUTED, 60))
    assert {message.body for message in await take_all(node.url)} == {b"expected"}
    homeless = await take_all(node.url, UNROUTED)
    assert {message.exchange for message in homeless} == {REQUEUE}
    assert {message.routing_key for message in homeless} == {"calls.enrich.gone"}


@pytest.fixture
async def impatient(node: PrivateNode) -> AsyncIterator[PrivateNode]:
    """A broker that takes a delivery away after a second, and looks each half second."""
    for setting, milliseconds in (("consumer_timeout", 1000), ("channel_tick_interval", 500)):
        await node.ctl("eval", f"application:set_env(rabbit, {setting}, {milliseconds}).")
    yield node
    await node.ctl("eval", "application:unset_env(rabbit, channel_tick_interval).")
    await node.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")


async def test_25_a_delivery_held_longer_than_the_broker_allows_comes_again_unspent(
    impatient: PrivateNode,
    endpoint: Endpoint,
    vapi: SimulatedVapi,
    environment: dict[str, str],
    start_process: Start,
) -> None:
    await endpoint.started()
    await take_all(impatient.url, "calls.postcall")
    enricher = await started(start_process, environment)
    vapi.trouble = Trouble(latency_s=6)
    (call,) = await vapi.end_calls(1)
    await enricher.wait_for_line("consumer of calls.enrich.default.*broker.lost")
    vapi.trouble = Trouble()

    (enriched,) = await eventually(lambda: take_all(impatient.url, "calls.postcall"))

    assert enriched.correlation_id == call.outline.id
    assert json.loads(enriched.body)["timeline"]["attempts"] == 1
