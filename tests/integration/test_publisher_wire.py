"""A publisher whose connection is stalled or cut, on a real broker: each publish has its end in time."""

import asyncio
import time

from yarl import URL

from tests.integration.publishers import (
    a_queue,
    bodies_in,
    failed,
    has,
    message,
    numbered,
    publish_all,
    publishing,
    ready,
    succeeds,
)
from tests.processes import eventually
from worker.simulate.tcp_proxy import TcpProxy


async def test_publishes_wait_in_vain_only_as_long_as_their_timeout_behind_a_black_hole(
    amqp_url: str, proxy: TcpProxy
) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url), timeout_s=0.5) as publisher:
        proxy.stall()
        began = time.monotonic()
        results = await publish_all(publisher, numbered(queue, 300))  # more than there is room for
        assert all(map(failed, results))
        assert time.monotonic() - began < 2
        proxy.resume()
        await eventually(lambda: succeeds(publisher, message(queue, b"after")))
        assert b"after" in await bodies_in(queue)


async def test_a_connection_cut_before_the_confirm_is_a_failure_though_the_message_landed(
    amqp_url: str, proxy: TcpProxy
) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url)) as publisher:
        proxy.stall("down")
        publish = asyncio.create_task(publish_all(publisher, [message(queue, b"once")]))
        await eventually(lambda: has(queue, 1))
        proxy.cut()
        assert failed((await publish)[0])
        proxy.resume()
        await eventually(lambda: succeeds(publisher, message(queue, b"twice")))
        assert await bodies_in(queue) == [b"once", b"twice"]


async def test_a_connection_cut_amid_the_bytes_of_a_message_is_a_failure(amqp_url: str, proxy: TcpProxy) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url)) as publisher:
        proxy.cut_after(10_000)
        assert failed((await publish_all(publisher, [message(queue, b"x" * 100_000)]))[0])
        await eventually(lambda: succeeds(publisher, message(queue, b"after")))
        assert await bodies_in(queue) == [b"after"]


async def test_a_peer_found_dead_by_its_missing_heartbeats_is_a_failure_and_not_a_cancellation(
    amqp_url: str, proxy: TcpProxy
) -> None:
    url = str(URL(proxy.through(amqp_url)) % {"heartbeat": "1"})
    async with a_queue(amqp_url) as queue, publishing(url, timeout_s=30.0) as publisher:
        proxy.stall()
        results = await publish_all(publisher, numbered(queue, 5))  # ends after (1 + 1) * 3 s
        assert all(map(failed, results))
        proxy.resume()
        await eventually(lambda: succeeds(publisher, message(queue)))


async def test_our_own_closing_of_the_connection_is_a_failure_for_what_is_in_flight(
    amqp_url: str, proxy: TcpProxy
) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url)) as publisher:
        proxy.stall("down")
        publishes = asyncio.create_task(publish_all(publisher, numbered(queue, 5)))
        await eventually(lambda: has(queue, 5))
        publisher.session.rebuild("for the test")
        assert all(map(failed, await publishes))
        proxy.resume()
        await ready(publisher)
