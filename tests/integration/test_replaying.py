"""Dead letters on a real broker, replayed one at a time, and what interrupts that."""

import asyncio
import gzip
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from yarl import URL

from consumers.dead_letters import Wanted
from consumers.messages import Message
from tests.integration.letters import (
    DEAD,
    FAST,
    QUEUE,
    Broker,
    broker_at,
    letter,
    letters,
    planned_for,
    replay_all,
    replaying_process,
    settings_of,
    sum_is,
)
from tests.processes import RunningProcess, eventually
from worker.broker.reach import BrokerAway, reached
from worker.broker.walk import WINDOW
from worker.cli.dead.places import opened
from worker.cli.dead.working import Work, desk, replaying, work_through
from worker.cli.exit_codes import Unreachable
from worker.settings import Secret
from worker.simulate.tcp_proxy import TcpProxy


async def test_a_replay_takes_letters_back_to_their_queue_in_order_and_notes_each(broker_: Broker) -> None:
    await broker_.put_dead(30)
    assert (await replay_all(broker_.settings)).done == 30
    came = await broker_.take(QUEUE)
    assert [int(message.body) for message in came] == list(range(30))
    assert {message.headers["x-aftercall-attempt"] for message in came} == {1}
    assert came[7].headers["ce-id"] == "default/call-7/ended"
    assert came[7].headers["x-aftercall-previous-detail"] == "no 7"
    assert await broker_.depth(DEAD) == 0
    assert await broker_.notes() == [("replayed", f"call-{number}") for number in range(30)]


async def test_a_limited_replay_of_2000_letters_takes_the_oldest_and_leaves_the_rest_in_order(broker_: Broker) -> None:
    await broker_.put_dead(2000)
    assert (await replay_all(broker_.settings, limit=300)).done == 300
    assert await broker_.numbers(QUEUE) == list(range(300))
    assert await broker_.numbers(DEAD) == list(range(300, 2000))


async def test_a_filtered_replay_picks_its_letters_out_of_all_windows(broker_: Broker) -> None:
    count = 2 * WINDOW + 50
    await broker_.put_dead(count)
    chosen = [3, WINDOW - 1, WINDOW, 2 * WINDOW + 49]
    wanted = Wanted(call_ids=frozenset(f"call-{number}" for number in chosen))
    assert (await replay_all(broker_.settings, wanted)).done == 4
    assert await broker_.numbers(QUEUE) == chosen
    assert await broker_.numbers(DEAD) == [number for number in range(count) if number not in chosen]


async def test_a_zipped_body_is_replayed_as_it_lies(broker_: Broker) -> None:
    zipped = gzip.compress(b'{"a": "%s"}' % (b"x" * 2_000_000))
    await broker_.put("calls.dead", QUEUE, letter(1, body=zipped, content_encoding="gzip"))
    await replay_all(broker_.settings)
    (message,) = await broker_.take(QUEUE)
    assert (message.body, message.content_encoding) == (zipped, "gzip")


async def test_several_operators_at_once_replay_each_letter_once(broker_: Broker) -> None:
    await broker_.put_dead(300)
    async with AsyncExitStack() as stack:
        jobs = []
        for _ in range(3):
            place = await stack.enter_async_context(opened(broker_.settings, Wanted()))
            at = await stack.enter_async_context(desk(broker_.settings))
            made = await planned_for(place)
            work = Work(deed=replaying(at, made, ""), total=made.total, rate=FAST, done="replayed")
            jobs.append(partial(work_through, place, work))
        tallies = await asyncio.gather(*(job() for job in jobs))
    assert sum(tally.done for tally in tallies) + await broker_.depth(DEAD) == 300
    again = await replay_all(broker_.settings)  # whatever one had in hand when another looked
    assert sum(tally.done for tally in tallies) + again.done == 300
    assert sorted(await broker_.numbers(QUEUE)) == list(range(300))


async def test_a_replay_from_calls_unrouted_goes_where_it_was_to_go_once_something_is_there(
    amqp_url: str, tmp_path: Path
) -> None:
    async with broker_at(amqp_url, tmp_path) as broker:
        await broker.put("calls", "call.ended.acme", aio_pika.Message(b"{}", headers={"x-aftercall-account": "acme"}))
        (letter_,) = await letters(broker.settings)
        assert (letter_.queue, letter_.reason, letter_.routing_key) == ("calls.unrouted", "unrouted", "call.ended.acme")
        code, _, err = await broker.run("replay", "--all")
        assert (code, "Nothing would take letters for calls / call.ended.acme" in err) == (1, True)
        assert await broker.depth("calls.unrouted") == 1
    account = {"ACCOUNTS__ACME__VAPI_API_KEY": "k", "ACCOUNTS__ACME__WEBHOOK_SECRETS": "s"}
    async with broker_at(amqp_url, tmp_path, **account) as broker:
        assert (await replay_all(broker.settings)).done == 1
        (message,) = await broker.take("calls.enrich.acme")
        assert (message.exchange, message.routing_key) == ("calls", "call.ended.acme")
        assert await broker.depth("calls.unrouted") == 0


async def test_a_queue_that_is_gone_is_told_of_before_anything_moves(broker_: Broker) -> None:
    await broker_.put_dead(2)
    await broker_.put_dead(2, "calls.ledger")
    async with broker_.connection.channel() as channel:
        await channel.queue_delete(QUEUE)
    code, _, err = await broker_.run("replay", "--all", "--rate", "1000")
    assert code == 1
    assert f"Nothing would take letters for {QUEUE}: {QUEUE} does not exist. `aftercall topology apply`" in err
    assert (await broker_.depth(DEAD), await broker_.depth("calls.ledger.dead")) == (2, 2)
    assert (await replay_all(broker_.settings, to="calls.ledger")).done == 4


async def test_parked_letters_of_the_endpoint_go_where_one_says_and_nowhere_else(broker_: Broker) -> None:
    await broker_.put_dead(1, "calls.webhook", reason="undecodable")
    code, _, err = await broker_.run("replay", "--queue", "webhook")
    assert (code, "`--queue calls.webhook --to calls.enrich.default`" in err) == (1, True)
    code, _, err = await broker_.run("replay", "--queue", "webhook", "--to", "calls.enrich.default")
    assert (code, err) == (0, "1 letter replayed.\n")
    assert await broker_.numbers("calls.enrich.default") == [0]


async def test_a_letter_that_amqp_cannot_carry_again_is_left_and_does_not_stop_the_others(broker_: Broker) -> None:
    await broker_.put_dead(3)
    async with opened(broker_.settings, Wanted()) as place, desk(broker_.settings) as at:
        made = await planned_for(place)

        async def publish(message: Message) -> None:
            if message.body == b"1":
                raise ValueError("not for AMQP")
            await at.publish(message)

        picky = type(at)(publish, notes=False)
        work = Work(deed=replaying(picky, made, ""), total=3, rate=FAST, done="replayed")
        tally = await work_through(place, work)
    assert (tally.done, tally.left) == (2, {"not for AMQP": 1})
    assert (await broker_.numbers(QUEUE), await broker_.numbers(DEAD)) == ([0, 2], [1])


async def test_a_replay_killed_on_its_way_loses_nothing_and_doubles_the_letter_in_hand_at_most(
    broker_: Broker, start_process: Callable[..., RunningProcess]
) -> None:
    process = await replaying_process(broker_, start_process, 600)
    await process.kill()
    # What it held comes back when the broker notices; what it had published is counted twice at most.
    await eventually(lambda: sum_is(broker_, 600))
    replayed, left = await broker_.numbers(QUEUE), await broker_.numbers(DEAD)
    assert set(replayed) | set(left) == set(range(600))
    assert 40 <= len(replayed) < 600
    assert len(replayed) + len(left) <= 601


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_stops_after_the_letter_in_hand(
    broker_: Broker, start_process: Callable[..., RunningProcess], number: signal.Signals
) -> None:
    process = await replaying_process(broker_, start_process, 400)
    process.signal(number)
    assert await process.wait() == 130
    assert "Stopped; the others lie where they lay." in process.text()
    replayed, left = await broker_.numbers(QUEUE), await broker_.numbers(DEAD)
    assert replayed + left == list(range(400)), "none lost, none doubled, and all in order"
    assert f"{len(replayed)} letters replayed." in process.text()


async def test_a_broker_that_goes_away_ends_a_replay_with_a_sentence_and_no_loss(broker_: Broker) -> None:
    url = URL(broker_.settings.amqp_url.reveal())
    await broker_.put_dead(100)
    async with TcpProxy(str(url.host), int(url.port or 5672)) as proxy:
        settings = settings_of(proxy.through(str(url)))
        async with opened(settings, Wanted()) as place, desk(broker_.settings) as at:
            made = await planned_for(place)
            deed = replaying(at, made, "")

            async def cutting(found: Any) -> None:
                await deed(found)
                if found.letter.call_id == "call-20":
                    await proxy.refuse()
                    proxy.cut()

            with pytest.raises(Unreachable, match="letters replayed; the one in hand may be in both places"):
                await work_through(place, Work(deed=cutting, total=100, rate=FAST, done="replayed"))
    await eventually(lambda: sum_is(broker_, 100))
    assert set(await broker_.numbers(QUEUE)) | set(await broker_.numbers(DEAD)) == set(range(100))


async def test_a_broker_that_cannot_be_reached() -> None:
    with pytest.raises(BrokerAway, match="nothing listens"):
        async with reached(Secret("amqp://127.0.0.1:1/,amqp://127.0.0.1:2/")):
            pass
