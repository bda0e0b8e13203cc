"""Where a message goes on a real broker by the topology that `apply` made."""

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from tests.processes import eventually
from worker.broker.topology import Topology
from worker.cli.topology import commands as command

HOMELESS = "nobody.knows"


async def publish(channel: AbstractChannel, exchange: str, key: str, body: bytes = b"call") -> None:
    message = aio_pika.Message(body, headers={"x-aftercall-attempt": 2}, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await (await channel.get_exchange(exchange, ensure=False)).publish(message, key)


async def take(channel: AbstractChannel, queue: str, *, no_ack: bool = True) -> AbstractIncomingMessage:
    """The next message of a queue, as soon as there is one."""
    source = await channel.get_queue(queue, ensure=False)
    return await eventually(lambda: source.get(no_ack=no_ack, fail=False))


async def depth(channel: AbstractChannel, queue: str) -> int:
    return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def test_a_message_waits_in_a_tier_and_comes_back_to_its_queue_alone(
    topology: Topology, channel: AbstractChannel
) -> None:
    await command.apply()
    await publish(channel, "calls.retry.1s", "calls.billing")
    back = await take(channel, "calls.billing")
    assert (back.body, back.headers["x-aftercall-attempt"]) == (b"call", 2)
    assert "calls.retry.1s" in str(back.headers["x-death"])
    others = [queue.name for queue in topology.queues if queue.name != "calls.billing"]
    assert {name: await depth(channel, name) for name in others} == dict.fromkeys(others, 0)


@pytest.mark.parametrize("exchange", ["calls", "calls.dead", "calls.requeue", "calls.retry.1s"])
async def test_what_nobody_takes_lands_in_calls_unrouted(
    environ: dict[str, str], channel: AbstractChannel, exchange: str
) -> None:
    await command.apply()
    await publish(channel, exchange, HOMELESS)
    assert (await take(channel, "calls.unrouted")).routing_key == HOMELESS
    assert environ


async def test_a_call_reaches_each_subscriber_whose_patterns_match(
    environ: dict[str, str], channel: AbstractChannel
) -> None:
    await command.apply()
    await publish(channel, "calls", "call.enriched.acme.completed.customer-ended")
    for queue in ("calls.billing", "calls.crm", "calls.ledger", "calls.postcall"):
        assert (await take(channel, queue)).body == b"call"
    assert [await depth(channel, queue) for queue in ("calls.alerts", "calls.unrouted")] == [0, 0]
    assert environ


async def test_what_is_rejected_lies_with_the_dead_letters_of_its_queue(
    environ: dict[str, str], channel: AbstractChannel
) -> None:
    await command.apply()
    await publish(channel, "calls.requeue", "calls.billing", b"deadly")
    await (await take(channel, "calls.billing", no_ack=False)).reject(requeue=False)
    letter = await take(channel, "calls.billing.dead")
    assert (letter.body, letter.routing_key) == (b"deadly", "calls.billing")
    assert environ
