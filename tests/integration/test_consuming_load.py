"""How many deliveries are in hand: by number, by bytes, by what the API can do, and when it all stops."""

import asyncio
import gzip

from consumers.messages import Delivery, unpacked_bytes
from tests.integration.consumers import (
    LEDGER,
    QUEUE,
    Answer,
    consuming,
    count,
    emission,
    forever,
    ours,
    put,
    take,
)
from tests.processes import eventually
from worker.simulate.tcp_proxy import TcpProxy


async def test_no_more_deliveries_are_in_hand_than_the_prefetch(amqp_url: str) -> None:
    gate = asyncio.Event()

    async def wait(_delivery: Delivery) -> Answer:
        await gate.wait()
        return ()

    async with consuming(amqp_url, *[wait] * 10, prefetch=3) as (script, _, _):
        await put(amqp_url, *(b"%d" % number for number in range(10)))
        await eventually(lambda: len(script.heard) == 3)
        assert await count(amqp_url, QUEUE) == 7
        gate.set()
        await eventually(lambda: len(script.heard) == 10)
    assert sorted(script.numbers()) == list(range(10))


async def test_a_consumer_that_stops_finishes_what_it_has_in_hand_and_leaves_the_rest_unspent(amqp_url: str) -> None:
    gate = asyncio.Event()

    async def finish(_delivery: Delivery) -> Answer:
        await gate.wait()
        return (emission(b"finished"),)

    async with consuming(amqp_url, finish, forever, prefetch=2) as (script, consumer, _):
        await put(amqp_url, b"0", b"1", b"2", b"3")
        await eventually(lambda: len(script.heard) == 2)
        stopping = asyncio.create_task(consumer.stop(0.5))
        asyncio.get_running_loop().call_later(0.1, gate.set)
        await stopping
        assert (await take(amqp_url, LEDGER)).body == b"finished"
        await put(amqp_url, b"4")
        assert script.numbers() == [0, 1]
    assert await count(amqp_url, LEDGER) == 0
    left = [await take(amqp_url, QUEUE) for _ in range(4)]
    assert sorted(message.body for message in left) == [b"1", b"2", b"3", b"4"]
    assert not any(ours(message) for message in left)


async def test_what_is_acknowledged_together_takes_nothing_with_it_that_is_still_in_hand(amqp_url: str) -> None:
    gate = asyncio.Event()

    async def finish(_delivery: Delivery) -> Answer:
        await gate.wait()
        return ()

    stuck = {2, 3, 17, 30, 39}
    answers = [forever if number in stuck else finish for number in range(40)]
    async with consuming(amqp_url, *answers, prefetch=40) as (script, consumer, _):
        await put(amqp_url, *(b"%d" % number for number in range(40)))
        await eventually(lambda: len(script.heard) == 40)
        gate.set()
        await consumer.stop(0.5)
    left = [await take(amqp_url, QUEUE) for _ in range(await count(amqp_url, QUEUE))]
    assert sorted(int(message.body) for message in left) == sorted(stuck)


async def test_a_consumer_that_stops_while_it_consumes_anew_takes_no_more(amqp_url: str, proxy: TcpProxy) -> None:
    wanted, late = 2, asyncio.Event()

    def follow() -> int:
        if wanted > 2:  # the cancel takes two delays, and another two whatever comes before consuming
            asyncio.get_running_loop().call_later(3 * proxy.delay_s, late.set)
        return wanted

    hands = {"outage": Api(), "follow": follow, "follow_every_s": 0.1}
    url = proxy.through(amqp_url)
    async with consuming(url, *[forever] * 9, prefetch=2, publisher_url=amqp_url, hands=hands) as (script, consumer, _):
        await put(amqp_url, *(b"%d" % number for number in range(9)))
        await eventually(lambda: len(script.heard) == 2)
        proxy.delay_s, wanted = 0.2, 7
        await late.wait()
        await consumer.stop(1.5)
        assert await count(amqp_url, QUEUE) == 7


async def test_large_bodies_wait_for_each_other_and_a_larger_one_than_all_goes_alone(amqp_url: str) -> None:
    at_work: list[int] = []
    gate = asyncio.Event()

    async def work(delivery: Delivery) -> Answer:
        at_work.append(unpacked_bytes(delivery.body, delivery.content_encoding))
        await gate.wait()
        at_work.remove(unpacked_bytes(delivery.body, delivery.content_encoding))
        return ()

    async with consuming(amqp_url, *[work] * 4, hands={"max_bytes": 5000}) as (script, _, _):
        properties = {"content_encoding": "gzip"}
        await put(amqp_url, *(gzip.compress(b"x" * size) for size in (3000, 2000, 9000, 1000)), **properties)
        await eventually(lambda: at_work == [3000, 2000])
        gate.set()
        await eventually(lambda: len(script.heard) == 4)


class Api:
    """An API that is never away."""

    is_open = False

    async def wait_open(self) -> None:
        await asyncio.Event().wait()

    async def wait_closed(self, within_s: float) -> bool:
        raise AssertionError(within_s)


async def test_more_deliveries_are_in_hand_once_they_are_worth_it_and_none_is_lost_by_the_change(
    amqp_url: str,
) -> None:
    wanted, gate = 2, asyncio.Event()

    async def wait(_delivery: Delivery) -> Answer:
        await gate.wait()
        return ()

    hands = {"outage": Api(), "follow": lambda: wanted, "follow_every_s": 0.1}
    async with consuming(amqp_url, *[wait] * 20, prefetch=2, hands=hands) as (script, _, _):
        await put(amqp_url, *(b"%d" % number for number in range(20)))
        await eventually(lambda: len(script.heard) == 2)
        wanted = 7
        await eventually(lambda: len(script.heard) >= 7)
        gate.set()
        await eventually(lambda: len(script.heard) == 20)
    assert sorted(script.numbers()) == list(range(20))
