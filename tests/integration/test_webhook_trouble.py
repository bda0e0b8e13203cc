"""The endpoint while its broker takes nothing: what it answers, and what is published later."""

import asyncio
import time

from tests.integration.webhooks import Served, report, serving
from tests.processes import eventually
from worker.simulate.rabbitmq import PrivateNode


async def test_a_message_larger_than_the_broker_takes_is_kept_and_set_aside_for_an_operator(served: Served) -> None:
    served.publisher.session.max_message_bytes = 10

    assert (await served.post(report()))[0] == 200

    await eventually(lambda: served.spool.totals.aside)
    assert served.spool.totals.waiting == 0


async def test_while_the_broker_is_away_or_frozen_the_answer_is_200_and_all_is_published_later(
    node: PrivateNode,
) -> None:
    async with serving(node.url) as served:
        ready_at = time.monotonic()
        node.pause()
        began = time.monotonic()
        frozen = await asyncio.gather(*(served.post(report()) for _ in range(20)))
        assert time.monotonic() - began < 3
        node.resume()
        await eventually(lambda: not served.spool.totals.waiting)
        await eventually(lambda: time.monotonic() - ready_at > 2)  # RabbitMQ 3.10 loses younger queues in a crash

        posts = [asyncio.create_task(served.post(report())) for _ in range(50)]
        await node.kill()
        began = time.monotonic()
        in_flight = await asyncio.gather(*posts)
        away = [await served.post(report()) for _ in range(3)]
        assert time.monotonic() - began < 3
        await node.restart()
        await eventually(lambda: not served.spool.totals.waiting)
        assert await served.count("calls.enrich.default") >= 73

    assert {status for status, _, _ in [*frozen, *in_flight, *away]} == {200}


async def test_while_the_broker_is_away_and_the_spool_full_the_answer_is_a_503(node: PrivateNode) -> None:
    async with serving(node.url, spool_max_bytes=100) as served:
        await node.kill()
        status, _, headers = await served.post(report())
        assert (status, headers["Retry-After"]) == (503, "5")

        await node.restart()

        await eventually(lambda: _is_taken(served))


async def _is_taken(served: Served) -> bool:
    return (await served.post(report()))[0] == 200
