"""Publishing against a real broker: what returns is in a queue, and whatever else happens is `PublishFailed`."""

import asyncio
import itertools
import time

import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, DeliveryMode
from yarl import URL

from consumers.outcomes import TooLarge
from tests.integration.publishers import (
    a_queue,
    bodies_in,
    count_in,
    failed,
    fails,
    has,
    message,
    numbered,
    publish_all,
    publishing,
    succeeds,
)
from tests.processes import eventually
from worker.broker.publisher import Publisher, PublishFailed
from worker.simulate.tcp_proxy import TcpProxy


async def test_what_was_published_is_in_its_queue_with_its_properties(amqp_url: str) -> None:
    async with a_queue(amqp_url) as queue, publishing(amqp_url) as publisher:
        await publisher.publish(message(queue, b"\x00\xff", headers={"x-n": 1}, content_encoding="gzip"))
        kept = await queue.get(no_ack=True)

    assert kept.headers["x-n"] == 1
    assert (kept.body, kept.content_type, kept.content_encoding) == (
        b"\x00\xff",
        "application/json",
        "gzip",
    )
    assert (kept.type, kept.correlation_id, kept.app_id) == ("t", "call-1", "aftercall")
    assert kept.delivery_mode == DeliveryMode.PERSISTENT
    assert kept.timestamp is not None
    assert abs(kept.timestamp.timestamp() - time.time()) < 10


async def test_every_publish_has_a_message_id_of_its_own(amqp_url: str) -> None:
    async with a_queue(amqp_url) as queue, publishing(amqp_url) as publisher:
        await publish_all(publisher, [message(queue)] * 3)
        ids = {(await queue.get(no_ack=True)).message_id for _ in range(3)}

    assert len(ids) == 3


async def test_what_no_queue_takes_is_a_failure(amqp_url: str) -> None:
    async with publishing(amqp_url) as publisher:
        with pytest.raises(PublishFailed):
            await publisher.publish(message(None))


async def test_of_100_at_once_for_one_call_exactly_those_that_no_queue_takes_fail(amqp_url: str) -> None:
    async with a_queue(amqp_url) as queue, publishing(amqp_url) as publisher:
        mixed = [each for pair in zip(numbered(queue, 50), numbered(None, 50), strict=True) for each in pair]
        results = await publish_all(publisher, mixed)
        kept = await bodies_in(queue)

    assert [failed(result) for result in results] == [False, True] * 50
    assert sorted(map(int, kept)) == list(range(50))


async def test_a_set_up_that_hangs_while_it_is_done_again_does_not_keep_it_from_being_done_once_more(
    amqp_url: str,
) -> None:
    times = itertools.count(1)
    done: list[int] = []

    async def hang_the_second_time(_connection: AbstractConnection, _channel: AbstractChannel) -> None:
        if (time_ := next(times)) == 2:
            await asyncio.Event().wait()
        done.append(time_)

    async with publishing(amqp_url, set_up=hang_the_second_time, set_up_s=0.2) as publisher:
        await eventually(lambda: _is_set_up_again(publisher, done))

    assert done[:2] == [1, 3]


async def _is_set_up_again(publisher: Publisher, done: list[int]) -> bool:
    """Publish what comes back, which asks for the set-up; whether it was done after the time that it hung."""
    await fails(publisher, message(None))
    return 3 in done


async def test_what_a_full_queue_refuses_is_a_failure(amqp_url: str) -> None:
    full = {"x-max-length": 5, "x-overflow": "reject-publish"}
    async with a_queue(amqp_url, **full) as queue, publishing(amqp_url) as publisher:
        confirmed: list[bytes] = []
        for one in numbered(queue, 500):  # it takes some more than its length
            if not await succeeds(publisher, one):
                break
            confirmed.append(one.body)
        kept = await bodies_in(queue)

    assert 5 <= len(confirmed) < 500
    assert kept == confirmed


async def test_a_missing_exchange_is_a_failure_and_the_session_comes_back(amqp_url: str) -> None:
    async with a_queue(amqp_url) as queue, publishing(amqp_url) as publisher:
        lost = message(queue, exchange="no-such-exchange")
        results = await publish_all(publisher, [*numbered(queue, 20), lost, *numbered(queue, 20)])
        await eventually(lambda: succeeds(publisher, message(queue, b"after")))
        kept = await bodies_in(queue)

    assert failed(results[20])
    for number, result in enumerate(results[:20]):
        assert failed(result) or b"%d" % number in kept
    assert b"after" in kept


async def test_a_message_larger_than_the_broker_takes_is_told_apart_and_harms_nobody(amqp_url: str) -> None:
    async with a_queue(amqp_url) as queue, publishing(amqp_url) as publisher:
        publisher.session.max_message_bytes = 10
        with pytest.raises(TooLarge, match="11 bytes, and the broker takes 10"):
            await publisher.publish(message(queue, b"x" * 11))
        await publisher.publish(message(queue, b"x" * 10))
        assert await bodies_in(queue) == [b"x" * 10]


async def test_headers_that_amqp_cannot_carry_are_an_error_of_their_own_and_harm_nobody(amqp_url: str) -> None:
    async with a_queue(amqp_url) as queue, publishing(amqp_url) as publisher:
        odd = [message(queue, headers={"n": 2**70}), message(queue, headers={"n": "\ud83d"})]
        results = await publish_all(publisher, [*odd, *numbered(queue, 3)])

    assert isinstance(results[0], TypeError)
    assert isinstance(results[1], ValueError)
    assert not any(map(failed, results[2:]))


async def test_no_more_are_in_flight_than_there_is_room_for(amqp_url: str, proxy: TcpProxy) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url), in_flight_max=3) as publisher:
        proxy.stall("down")
        publishes = asyncio.create_task(publish_all(publisher, numbered(queue, 10)))
        await eventually(lambda: has(queue, 3))
        assert not publishes.done()
        assert await count_in(queue) == 3
        proxy.resume()
        results = await publishes
        assert not any(map(failed, results))
        assert sorted(map(int, await bodies_in(queue))) == list(range(10))


async def test_a_task_that_is_cancelled_while_it_publishes_is_cancelled(amqp_url: str, proxy: TcpProxy) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url)) as publisher:
        proxy.stall("down")
        task = asyncio.create_task(publisher.publish(message(queue)))
        await eventually(lambda: has(queue, 1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.resume()
        await publisher.publish(message(queue))
        assert len(await bodies_in(queue)) == 2


async def test_publishes_cancelled_at_any_moment_confuse_no_other(amqp_url: str) -> None:
    async with a_queue(amqp_url) as queue, publishing(amqp_url) as publisher:
        tasks = [asyncio.create_task(publisher.publish(each)) for each in numbered(queue, 60)]
        tasks += [asyncio.create_task(publisher.publish(each)) for each in numbered(None, 60)]
        cancelled = tasks[::3]
        for number, task in enumerate(cancelled):
            asyncio.get_running_loop().call_later(number * 0.0005, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kept = await bodies_in(queue)

    for number, result in enumerate(results[:60]):
        assert result is None or isinstance(result, asyncio.CancelledError)
        assert result is not None or b"%d" % number in kept
    assert all(isinstance(result, PublishFailed | asyncio.CancelledError) for result in results[60:])


async def test_the_next_broker_of_several_is_tried_when_one_is_away(amqp_url: str, free_port: int) -> None:
    nobody = URL(amqp_url).with_port(free_port)
    async with a_queue(amqp_url) as queue, publishing(f"{nobody}, {amqp_url}") as publisher:
        await publisher.publish(message(queue))
