"""Consuming when things break: the queue, the connection, the broker, and what nothing is lost by."""

import asyncio
import time

import aio_pika
from structlog.testing import capture_logs
from yarl import URL

from consumers.outcomes import Retry
from consumers.settling import Schedule
from tests.integration.consumers import (
    LEDGER,
    QUEUE,
    SETTLED_S,
    Script,
    all_bodies,
    applying,
    by_hand,
    consuming,
    count,
    emission,
    emitted,
    forever,
    holds,
    ours,
    put,
    running,
    take,
    topology,
)
from tests.processes import eventually
from worker.broker.consuming import Consuming
from worker.broker.deliver import Settler
from worker.broker.publisher import Publisher
from worker.clients.breaker import Breaker
from worker.settings import Secret
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy


async def test_a_queue_deleted_while_it_is_consumed_is_declared_again_and_consumed(amqp_url: str) -> None:
    async with consuming(amqp_url) as (script, consumer, _):
        async with by_hand(amqp_url) as channel:
            await channel.queue_delete(QUEUE)
        await eventually(consumer.is_consumed)
        async with by_hand(amqp_url) as channel:  # bound as before
            events = await channel.get_exchange("calls")
            await events.publish(aio_pika.Message(b"in"), "call.ended.default")
        await eventually(lambda: script.heard)


async def test_what_cannot_be_published_is_not_acknowledged_and_comes_again_unspent(
    amqp_url: str, proxy: TcpProxy
) -> None:
    brief = {"timeout_s": 0.3, "publish_max_s": 0.3}
    says = [emitted] * 20
    async with consuming(amqp_url, *says, publisher_url=proxy.through(amqp_url), prefetch=1, **brief) as (script, _, _):
        proxy.stall()
        await put(amqp_url, b"in")
        await eventually(lambda: script.heard)
        await eventually(lambda: holds(amqp_url, QUEUE, 1))  # given back, and not taken while nothing can be published
        proxy.resume()
        await eventually(lambda: len(script.heard) > 1)
        await put(amqp_url, b"next")
        await eventually(lambda: script.heard[-1].body == b"next")
    assert b"in" in await all_bodies(amqp_url, LEDGER)
    assert b"in" not in await all_bodies(amqp_url, QUEUE)
    assert not any(map(ours, script.heard))


async def test_all_that_a_delivery_leads_to_must_be_published_within_one_time_limit(
    amqp_url: str, proxy: TcpProxy
) -> None:
    several = tuple(emission(b"%d" % number) for number in range(4))
    slow = {"publisher_url": proxy.through(amqp_url), "publish_max_s": 1.0}
    async with consuming(amqp_url, several, prefetch=1, **slow) as (script, _, _):
        proxy.delay_s = 0.3  # there and back takes a publish over 0.6 s
        with capture_logs() as logs:
            await put(amqp_url, b"in")
            await eventually(lambda: [line for line in logs if line["event"] == "delivery.settled"])
        proxy.delay_s = 0
        await eventually(lambda: len(script.heard) == 2)

    assert logs[0]["outcome"] == "unsettled"
    assert logs[0]["detail"] == "not all of it was published within 1 s"
    assert script.heard[1].headers["x-delivery-count"] == 1
    assert not ours(script.heard[1])


async def test_a_connection_found_dead_while_somebody_asks_whether_it_consumes_cancels_nobody(
    amqp_url: str, proxy: TcpProxy
) -> None:
    wire = str(URL(proxy.through(amqp_url)) % {"heartbeat": "1"})
    async with consuming(wire, publisher_url=amqp_url) as (_, consumer, _):

        async def ends() -> bool:
            assert await consumer.is_consumed() is False
            return not consumer.session.ready.is_set()

        proxy.stall()
        await eventually(ends, within_s=20)  # (1 + 1) * 3 s, and each look takes two
        proxy.resume()
        await eventually(consumer.is_consumed)


async def test_consuming_begins_when_there_is_a_publisher_to_pass_things_on(amqp_url: str, free_port: int) -> None:
    script, wanted = Script([emitted]), topology(amqp_url)
    address = URL(amqp_url)
    async with TcpProxy(address.host or "", address.port or 5672) as proxy:
        await proxy.refuse()
        proxy.port = free_port
        publisher = Publisher(
            Secret(proxy.through(amqp_url)), name="t", timeout_s=5, is_patient=True, set_up=applying(wanted)
        )
        consumer = Consuming(
            Secret(amqp_url),
            queue=QUEUE,
            prefetch=1,
            publisher=publisher,
            settler=Settler(script.handle, publisher.publish, Schedule((1,), 60)),
            set_up=applying(wanted.only(QUEUE)),
        )
        async with running(publisher.session.run(), consumer.run()):
            await eventually(lambda: "nothing listens" in publisher.session.trouble)
            assert not await consumer.is_consumed()
            await proxy.accept()
            await eventually(consumer.is_consumed)
            await put(amqp_url, b"in")
            assert (await take(amqp_url, LEDGER)).body == b"in"


async def test_connections_that_break_again_and_again_lose_nothing(amqp_url: str, proxy: TcpProxy) -> None:
    wire = proxy.through(amqp_url)
    bodies = [b"%d" % number for number in range(300)]
    async with consuming(wire, *[emitted] * 10_000, prefetch=10) as (script, consumer, _):
        for cut in range(1, 4):
            await put(amqp_url, *bodies[(cut - 1) * 100 : cut * 100])
            proxy.cut_after(10_000 * cut)
            await eventually(lambda: len({delivery.body for delivery in script.heard}) >= cut * 90)  # noqa: B023
            proxy.cut()
        await eventually(lambda: holds(amqp_url, QUEUE, 0))
        await eventually(consumer.is_consumed)
        await eventually(lambda: len({delivery.body for delivery in script.heard}) == 300)
    assert await all_bodies(amqp_url, LEDGER) | await all_bodies(amqp_url, QUEUE) == set(bodies)


class Away:
    """An outage, which tells when the queue was looked at, and ends when it is told to."""

    def __init__(self) -> None:
        self.is_looked_at, self._is_over = asyncio.Event(), asyncio.Event()

    @property
    def is_open(self) -> bool:
        return not self._is_over.is_set()

    def end(self) -> None:
        self._is_over.set()

    async def wait_open(self) -> None:
        if not self.is_open:
            await asyncio.Event().wait()

    async def wait_closed(self, _within_s: float) -> bool:
        self.is_looked_at.set()
        return await self._is_over.wait()


async def answers() -> None:
    """A probe that nothing is wrong with."""


async def test_an_outage_that_begins_while_the_broker_is_away_costs_no_second_connection(
    amqp_url: str, proxy: TcpProxy
) -> None:
    hands = {"outage": (api := Breaker("default", answers))}
    with capture_logs() as logs:
        async with consuming(proxy.through(amqp_url), publisher_url=amqp_url, hands=hands) as (script, consumer, _):
            await proxy.refuse()
            proxy.cut()
            await eventually(lambda: not consumer.session.ready.is_set())
            api.open("away")
            await proxy.accept()
            await put(amqp_url, b"looked at")
            await eventually(lambda: script.heard)
    assert not [line for line in logs if "given up here" in line.get("detail", "")]


async def test_a_connection_lost_while_the_head_of_the_queue_is_looked_at_is_made_again_once(
    amqp_url: str, proxy: TcpProxy
) -> None:
    hands = {"outage": (api := Breaker("default", answers))}
    api.open("away")
    url = proxy.through(amqp_url)
    with capture_logs() as logs:
        async with consuming(url, forever, publisher_url=amqp_url, hands=hands) as (script, _, _):
            await put(amqp_url, b"looked at")
            await eventually(lambda: script.heard)
            proxy.cut()
            await eventually(lambda: len(script.heard) == 2)
    assert len([line for line in logs if line["event"] == "broker.lost"]) == 1


async def test_a_broker_that_says_nothing_when_an_outage_ends_is_given_up_at_once(
    amqp_url: str, proxy: TcpProxy
) -> None:
    away = Away()
    with capture_logs() as logs:
        async with consuming(proxy.through(amqp_url), publisher_url=amqp_url, hands={"outage": away}) as (
            script,
            consumer,
            _,
        ):
            await away.is_looked_at.wait()
            proxy.stall()
            away.end()
            await eventually(lambda: [line for line in logs if line["event"] == "broker.lost"], within_s=20)
            proxy.resume()
            await eventually(consumer.is_consumed)
            await put(amqp_url, b"in")
            await eventually(lambda: script.heard)
    assert "nobody tends the queue any more: the broker does not answer" in next(
        line["detail"] for line in logs if line["event"] == "broker.lost"
    )


async def test_a_connection_closed_by_the_broker_is_made_again_and_its_deliveries_come_again(
    node: PrivateNode, node_url: str
) -> None:
    async with consuming(node_url, forever, emitted) as (script, consumer, _):
        await put(node_url, b"in")
        await eventually(lambda: script.heard)
        await node.ctl("close_all_connections", "--global", "to see what happens")
        assert (await take(node_url, LEDGER)).body == b"in"
        await eventually(consumer.is_consumed)
        assert [ours(delivery) for delivery in script.heard] == [{}, {}]
        assert script.heard[1].headers["x-delivery-count"] == 1
    assert await count(node_url, QUEUE) == 0


async def test_what_waits_in_a_tier_outlives_the_broker(node: PrivateNode, node_url: str) -> None:
    began = time.monotonic()
    async with consuming(node_url, Retry("later"), emitted, tiers="4") as (script, _, _):
        await put(node_url, b"in")
        await eventually(lambda: script.heard)
        await eventually(lambda: holds(node_url, "calls.retry.4s", 1))
        await eventually(lambda: time.monotonic() - began > SETTLED_S)
        await node.kill()
        await node.restart()
        assert (await take(node_url, LEDGER)).type == "call.noted"
        assert (await take(node_url, LEDGER)).body == b"in"
    assert ours(script.heard[1])["attempt"] == 2


async def test_a_frozen_broker_is_outlived_and_nothing_is_lost(node: PrivateNode, node_url: str) -> None:
    bodies = [b"%d" % number for number in range(50)]
    async with consuming(node_url, *[emitted] * 1000, timeout_s=0.3, publish_max_s=0.5) as (script, _, _):
        await put(node_url, *bodies)
        await eventually(lambda: script.heard)
        node.pause()
        frozen_at = time.monotonic()
        await eventually(lambda: time.monotonic() - frozen_at > 1)
        node.resume()
        await eventually(lambda: len({delivery.body for delivery in script.heard}) == 50)
    assert await all_bodies(node_url, LEDGER) | await all_bodies(node_url, QUEUE) == set(bodies)
