"""The fault list's rows for the endpoint, with real processes and brokers: what was answered with 200 comes out."""

import asyncio
import time

import aio_pika
import pytest

from tests.faults.conftest import Endpoint, arrived, away, settle, take_all
from tests.processes import eventually
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy

PROMPT_S = 1.0  # far below the 2 s of a publish that times out


async def test_1_a_broker_killed_with_publishes_in_flight(endpoint: Endpoint, node: PrivateNode) -> None:
    await endpoint.started()
    await settle()
    posting = asyncio.ensure_future(endpoint.post_many(200, size=20_000))
    await endpoint.process.wait_for_line("webhook.accepted")

    await node.kill()
    assert await posting == {200: 200}
    assert await endpoint.post_many(50) == {200: 50}
    assert "webhook.spooled" in endpoint.process.text()
    await endpoint.ready()
    await node.restart()

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)
    await endpoint.drained()


async def test_2_a_frozen_broker_costs_one_timeout_and_then_a_write(endpoint: Endpoint, node: PrivateNode) -> None:
    await endpoint.started()
    node.pause()
    began = time.monotonic()
    assert await endpoint.post_many(20) == {200: 20}
    assert 1.5 < time.monotonic() - began < 4
    endpoint.took_s.clear()

    while time.monotonic() < began + 5:
        assert await endpoint.post() == 200
    assert max(endpoint.took_s) < PROMPT_S
    assert len(endpoint.took_s) > 50

    node.resume()
    found = await arrived(endpoint, node.url)
    assert found.keys() == set(endpoint.kept)
    await endpoint.drained()
    await eventually(endpoint.post)
    await endpoint.process.wait_for_line("broker.takes_again")


async def test_4_a_memory_alarm(endpoint: Endpoint, node: PrivateNode) -> None:
    await endpoint.started()
    await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        assert await endpoint.post_many(20) == {200: 20}
        endpoint.took_s.clear()
        assert await endpoint.post_many(30) == {200: 30}
        assert max(endpoint.took_s) < PROMPT_S
        assert await endpoint.metric("aftercall_spool_notifications") >= 30
        assert await endpoint.metric("aftercall_spool_oldest_seconds") > 0
    finally:
        await node.ctl("set_vm_memory_high_watermark", "0.6")

    found = await arrived(endpoint, node.url)

    assert max(found.values()) <= 3, "an alarm is waited for, not tried against"
    await endpoint.drained()


@pytest.mark.parametrize("harm", ["black hole", "half open"])
async def test_5_a_black_hole_and_a_half_open_connection(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy, harm: str
) -> None:
    await endpoint.started()
    if harm == "half open":
        wire.half_open()
    else:
        wire.stall()

    assert await endpoint.post_many(10) == {200: 10}
    endpoint.took_s.clear()
    assert await endpoint.post_many(10) == {200: 10}
    assert max(endpoint.took_s) < PROMPT_S
    wire.cut()
    wire.resume()

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


async def test_6_a_confirm_that_never_comes_is_a_duplicate_under_the_same_event_id(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await endpoint.started()
    wire.stall("down")

    assert await endpoint.post("cut-before-the-ack") == 200
    wire.cut()
    wire.resume()
    await endpoint.drained()

    messages = await eventually(lambda: take_all(node.url))
    assert len(messages) == 2
    assert len({message.headers["ce-id"] for message in messages}) == 1
    assert len({message.message_id for message in messages}) == 2
    assert len({message.body for message in messages}) == 1


async def test_6_a_connection_cut_while_a_publish_is_written_is_no_wait(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await endpoint.started()
    for size in (10, 500, 2000, 30_000):
        await endpoint.drained()
        wire.cut_after(size)
        assert await endpoint.post(size=40_000) == 200

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


async def test_7_without_a_broker_at_the_start_the_endpoint_serves_through_the_spool_and_is_ready(
    endpoint: Endpoint, node: PrivateNode
) -> None:
    await node.kill()
    endpoint.start()
    await endpoint.ready()

    assert await endpoint.post_many(50, size=20_000) == {200: 50}
    assert await endpoint.post(body=b"no json at all") == 200
    assert max(endpoint.took_s) < PROMPT_S
    endpoint.kept.pop()
    await node.restart()

    assert set((await arrived(endpoint, node.url)).values()) == {1}
    (parked,) = await eventually(lambda: take_all(node.url, "calls.webhook.dead"))
    assert parked.body == b"no json at all"
    assert parked.headers["x-aftercall-reason"] == "undecodable"


async def test_10_a_deleted_exchange(endpoint: Endpoint, node: PrivateNode) -> None:
    await endpoint.started()
    async with await aio_pika.connect(node.url) as connection:
        await (await connection.channel()).exchange_delete("calls")

    assert await endpoint.post_many(40) == {200: 40}

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


async def test_12_fifty_identical_webhooks_without_a_broker_are_fifty_records(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await away(wire)
    endpoint.start()
    await endpoint.ready()
    answers = await asyncio.gather(*(endpoint.post("the-same") for _ in range(50)))
    assert set(answers) == {200}
    assert await endpoint.metric("aftercall_spool_notifications") == 50

    await wire.accept()
    await endpoint.process.wait_for_line("spool.drained")

    messages = await take_all(node.url)
    assert [message.correlation_id for message in messages] == ["the-same"] * 50
    assert len({message.message_id for message in messages}) == 50
