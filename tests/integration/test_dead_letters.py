"""Dead letters on a real broker: looked at without being moved."""

import aio_pika
import pytest

from consumers.dead_letters import Wanted
from consumers.messages import OF_THE_BROKER
from tests.integration.letters import DEAD, QUEUE, Broker, has, letter, letters, replay_all
from tests.processes import eventually
from worker.broker.walk import WINDOW, DeadQueue
from worker.cli.dead.places import opened


async def test_looking_leaves_every_letter_in_place_in_order_and_with_its_headers(broker_: Broker) -> None:
    count = 3 * WINDOW + 7
    await broker_.put_dead(count)
    first = await letters(broker_.settings)
    assert await letters(broker_.settings) == first, "ids and all"
    assert [each.call_id for each in first] == [f"call-{number}" for number in range(count)]
    assert await broker_.depth(DEAD) == count
    lying = await broker_.take(DEAD)
    assert [int(message.body) for message in lying] == list(range(count))
    headers = {key: value for key, value in lying[-1].headers.items() if not key.startswith(OF_THE_BROKER)}
    assert headers == letter(count - 1).headers
    assert lying[-1].message_id == f"m-{count - 1}"


async def test_looking_at_a_part_gives_back_the_rest_in_order_too(broker_: Broker) -> None:
    await broker_.put_dead(2 * WINDOW)
    async with opened(broker_.settings, Wanted()) as place, place.letters() as found:
        async for each in found:
            if each.letter.call_id == f"call-{WINDOW + 10}":
                break
    assert await broker_.numbers(DEAD) == list(range(2 * WINDOW))


async def test_letters_that_were_looked_at_before_keep_their_order_when_a_later_command_ends_early(
    broker_: Broker,
) -> None:
    """RabbitMQ hands out first what it got back, and would put this behind it."""
    count = 2 * WINDOW + 20
    await broker_.put_dead(count)
    await letters(broker_.settings)
    await broker_.put("calls.dead", QUEUE, *(letter(count + number) for number in range(WINDOW)))
    async with opened(broker_.settings, Wanted(ids=frozenset())) as place, place.letters() as found:
        async for _ in found:
            break
    assert await broker_.numbers(DEAD) == list(range(count + WINDOW))


async def test_a_look_ends_though_letters_keep_coming(broker_: Broker) -> None:
    await broker_.put_dead(5)
    async with DeadQueue(broker_.connection, DEAD).walk(5) as found:
        seen = []
        async for each in found:
            seen.append(each.letter.call_id)
            await broker_.put("calls.dead", QUEUE, letter(100 + len(seen)))
    assert len(seen) == 5
    assert await broker_.depth(DEAD) == 10


async def test_letters_in_other_hands_are_not_waited_for(broker_: Broker) -> None:
    await broker_.put_dead(10)
    async with broker_.connection.channel() as channel:
        waiting = await channel.get_queue(DEAD, ensure=False)
        async with DeadQueue(broker_.connection, DEAD).walk(10) as found:
            held = await waiting.get()
            seen = [each.letter.call_id async for each in found]
        await held.nack(requeue=True)
    assert held.correlation_id == "call-0"
    assert seen == [f"call-{number}" for number in range(1, 10)]


async def test_what_does_not_exist_is_told_of_and_skipped(broker_: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    async with broker_.connection.channel() as channel:
        await channel.queue_delete("calls.webhook.dead")
    await broker_.put_dead(1)
    assert len(await letters(broker_.settings)) == 1
    assert "Not there: calls.webhook.dead." in capsys.readouterr().err


async def test_a_letter_of_the_broker_itself(broker_: Broker) -> None:
    """The delivery limit, reached by consumers that die, and a subscriber of somebody else that rejects."""
    headers = {"x-aftercall-account": "default", "x-aftercall-attempt": 2}
    await broker_.put("calls.requeue", QUEUE, aio_pika.Message(b"killer", headers=headers, correlation_id="call-k"))
    async with broker_.connection.channel() as channel:
        waiting = await channel.get_queue(QUEUE, ensure=False)
        while message := await waiting.get(fail=False):
            await message.reject(requeue=True)  # RabbitMQ 4.3 counts no nack
    await broker_.put("calls.requeue", QUEUE, aio_pika.Message(b"refused", correlation_id="call-r"))
    async with broker_.connection.channel() as channel:
        await (await (await channel.get_queue(QUEUE, ensure=False)).get()).reject(requeue=False)
    await eventually(lambda: has(broker_, DEAD, 2))

    told = {each.call_id: each for each in await letters(broker_.settings)}

    assert {call: (each.queue, each.reason) for call, each in told.items()} == {
        "call-k": (QUEUE, "delivery-limit"),
        "call-r": (QUEUE, "rejected"),
    }
    assert told["call-k"].attempts == 2
    assert told["call-k"].died_at is not None
    assert (await replay_all(broker_.settings)).done == 2
    killer, _ = sorted(await broker_.take(QUEUE), key=lambda message: message.body)
    assert not any(key.startswith(("x-death", "x-first-death")) for key in killer.headers)
    assert killer.headers["x-aftercall-previous-reason"] == "delivery-limit"
