"""A publisher whose broker cannot be used, is killed, frozen or out of memory: what was confirmed is there."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from yarl import URL

from tests.integration.publishers import (
    EVENTS,
    QUORUM,
    bodies_in,
    by_hand,
    failed,
    fails,
    message,
    nothing,
    publish_all,
    publishing,
    ready,
    succeeds,
    to,
)
from tests.processes import eventually
from worker.broker.publisher import Publisher, PublishFailed
from worker.settings import Secret
from worker.simulate.rabbitmq import PrivateNode

SETTLED_S = 2.0  # how long RabbitMQ 3.10 takes until a new quorum queue outlives kill -9


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        (lambda url: url.with_password("wrong"), "refuses the user or password"),
        (lambda url: url.with_path("/no-such-vhost"), "check the virtual host"),
        (lambda url: url.with_host("no-such-host.invalid"), "name does not resolve"),
        (lambda url: url.with_port(1), "nothing listens at"),
    ],
)
async def test_a_broker_that_cannot_be_used_is_told_in_words_to_act_upon(
    amqp_url: str, change: Callable[[URL], URL], trouble: str
) -> None:
    publisher = Publisher(Secret(str(change(URL(amqp_url)))), name="t", timeout_s=1, is_patient=False, set_up=nothing)
    session = asyncio.create_task(publisher.session.run())
    await eventually(lambda: publisher.session.trouble != "not connected yet")
    with pytest.raises(PublishFailed, match=trouble):
        await publisher.publish(message(None))
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)


async def publishing_during(
    publisher: Publisher, key: str, harm: Callable[[], Awaitable[object]]
) -> tuple[set[bytes], int]:
    """Publish without a pause before, while and until harm is done; what was confirmed, and how often it failed."""
    confirmed: set[bytes] = set()
    failures = 0

    async def publish_on(worker: int) -> None:
        nonlocal failures
        for number in itertools.count():
            body = b"%d-%d" % (worker, number)
            if failed((await publish_all(publisher, [to(key, body)]))[0]):
                failures += 1
                await ready(publisher)
            else:
                confirmed.add(body)

    workers = [asyncio.create_task(publish_on(worker)) for worker in range(5)]
    await eventually(lambda: confirmed)
    await harm()
    await ready(publisher)
    for worker in workers:
        worker.cancel()
    ends = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
    return confirmed, failures


@asynccontextmanager
async def lasting_queue(node: PrivateNode) -> AsyncIterator[str]:
    """A queue on a node that is to be harmed, by name: connections to it do not last. It is old enough for kill -9."""
    name = f"kept-{uuid4().hex}"
    async with by_hand(node.url) as channel:
        await (await channel.declare_queue(name, durable=True, arguments=QUORUM)).bind(EVENTS, name)
    declared_at = time.monotonic()
    await eventually(lambda: time.monotonic() - declared_at > SETTLED_S)
    yield name


async def bodies_on(node: PrivateNode, name: str) -> list[bytes]:
    async with by_hand(node.url) as channel:
        return await bodies_in(await channel.get_queue(name))


async def test_connections_closed_by_the_broker_in_mid_flight_lose_nothing_that_was_confirmed(
    node: PrivateNode,
) -> None:
    async with lasting_queue(node) as name, publishing(node.url) as publisher:
        confirmed, failures = await publishing_during(
            publisher, name, lambda: node.ctl("close_all_connections", "--global", "to see what happens")
        )
        kept = await bodies_on(node, name)

    assert confirmed
    assert failures
    assert confirmed <= set(kept)


async def test_a_broker_that_is_killed_loses_nothing_that_was_confirmed(node: PrivateNode) -> None:
    async def harm() -> None:
        await node.kill()
        await node.restart()

    async with lasting_queue(node) as name, publishing(node.url) as publisher:
        confirmed, failures = await publishing_during(publisher, name, harm)
        kept = await bodies_on(node, name)

    assert confirmed
    assert failures
    assert confirmed <= set(kept)


async def test_while_the_broker_is_away_the_impatient_fail_at_once_and_the_patient_succeed_later(
    node: PrivateNode,
) -> None:
    async with lasting_queue(node) as name, publishing(node.url) as impatient:
        async with publishing(node.url, is_patient=True, timeout_s=40.0) as patient:
            await node.kill()
            await eventually(lambda: not (impatient.session.ready.is_set() or patient.session.ready.is_set()))
            began = time.monotonic()
            with pytest.raises(PublishFailed, match=r"the broker is away: .+"):
                await impatient.publish(to(name))
            assert time.monotonic() - began < 0.1
            waiting = asyncio.create_task(patient.publish(to(name, b"patient")))
            await node.restart()
            await waiting
            await eventually(lambda: succeeds(impatient, to(name, b"impatient")))
        assert await bodies_on(node, name) == [b"patient", b"impatient"]


async def test_the_patient_wait_no_longer_than_their_timeout_for_a_broker_that_is_away(free_port: int) -> None:
    url = Secret(f"amqp://127.0.0.1:{free_port}/")
    publisher = Publisher(url, name="t", timeout_s=0.3, is_patient=True, set_up=nothing)
    with pytest.raises(PublishFailed):
        await publisher.publish(to("nobody"))


async def test_a_frozen_broker_is_a_failure_within_the_timeout_and_works_again_when_it_thaws(
    node: PrivateNode,
) -> None:
    async with lasting_queue(node) as name, publishing(node.url, timeout_s=0.5) as publisher:
        node.pause()
        began = time.monotonic()
        results = await publish_all(publisher, [to(name, b"frozen")] * 20)
        assert all(map(failed, results))
        assert time.monotonic() - began < 1.5
        node.resume()
        await eventually(lambda: succeeds(publisher, to(name, b"thawed")))
        assert b"thawed" in await bodies_on(node, name)


async def test_a_memory_alarm_is_a_failure_within_the_timeout_and_over_when_it_clears(node: PrivateNode) -> None:
    async with lasting_queue(node) as name, publishing(node.url, timeout_s=0.5) as publisher:
        await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            await eventually(lambda: fails(publisher, to(name, b"blocked")))
            results = await publish_all(publisher, [to(name, b"blocked")] * 20)
            assert all(map(failed, results))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(publisher.unblocked(), 0.2)
        finally:
            await node.ctl("set_vm_memory_high_watermark", "0.4")
        await asyncio.wait_for(publisher.unblocked(), 30)
        await eventually(lambda: succeeds(publisher, to(name, b"after")))
        assert b"after" in await bodies_on(node, name)
