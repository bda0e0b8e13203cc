"""Publishing against a real broker: what returns is in a queue, and whatever else happens is `PublishFailed`."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue, DeliveryMode
from yarl import URL

from consumers.messages import Message
from consumers.outcomes import TooLarge
from tests.processes import eventually
from worker.broker.publisher import Publisher, PublishFailed
from worker.settings import Secret
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy

EVENTS = "amq.topic"  # there from the start, and without an alternate exchange
QUORUM = {"x-queue-type": "quorum"}
SETTLED_S = 2.0  # how long RabbitMQ 3.10 takes until a new quorum queue outlives kill -9


async def nothing(_connection: AbstractConnection, _channel: AbstractChannel) -> None:
    pass


@asynccontextmanager
async def publishing(url: str, **changes: Any) -> AsyncIterator[Publisher]:
    """A publisher whose session is ready."""
    defaults = {"name": "test", "timeout_s": 5.0, "is_patient": False, "set_up": nothing}
    publisher = Publisher(Secret(url), **defaults | changes)
    session = asyncio.create_task(publisher.session.run())
    try:
        async with asyncio.timeout(10):
            await publisher.session.ready.wait()
        yield publisher
        assert not session.done()
    finally:
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


@asynccontextmanager
async def a_queue(url: str, **arguments: Any) -> AsyncIterator[AbstractQueue]:
    """A quorum queue bound to the events by its own name, looked at over a connection of its own."""
    async with by_hand(url) as channel:
        queue = await channel.declare_queue(f"kept-{uuid4().hex}", durable=True, arguments=QUORUM | arguments)
        await queue.bind(EVENTS, queue.name)
        yield queue
        await queue.delete(if_unused=False, if_empty=False)


def message(queue: AbstractQueue | None, body: bytes = b"{}", **changes: Any) -> Message:
    """A message for `queue`, all of one call; for no queue, one that nothing takes."""
    return to(queue.name if queue else "nobody", body, **changes)


def to(key: str, body: bytes = b"{}", **changes: Any) -> Message:
    return Message(**{"exchange": EVENTS, "routing_key": key, "body": body, "type": "t", "call_id": "call-1"} | changes)


def numbered(queue: AbstractQueue | None, count: int) -> list[Message]:
    return [message(queue, b"%d" % number) for number in range(count)]


async def publish_all(publisher: Publisher, messages: list[Message]) -> list[BaseException | None]:
    return await asyncio.gather(*map(publisher.publish, messages), return_exceptions=True)


async def bodies_in(queue: AbstractQueue) -> list[bytes]:
    """Everything in a queue, taken out."""
    count, bodies = await count_in(queue), list[bytes]()

    async def take(incoming: AbstractIncomingMessage) -> None:
        bodies.append(incoming.body)

    tag = await queue.consume(take, no_ack=True)
    await eventually(lambda: len(bodies) >= count)
    await queue.cancel(tag)
    return bodies


async def count_in(queue: AbstractQueue) -> int:
    return (await queue.declare(timeout=5)).message_count or 0


def failed(result: BaseException | None) -> bool:
    assert result is None or isinstance(result, PublishFailed), repr(result)
    return result is not None


async def ready(publisher: Publisher, within_s: float = 15) -> None:
    await eventually(publisher.session.ready.is_set, within_s)


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
    await _fails(publisher, message(None))
    return 3 in done


async def test_what_a_full_queue_refuses_is_a_failure(amqp_url: str) -> None:
    full = {"x-max-length": 5, "x-overflow": "reject-publish"}
    async with a_queue(amqp_url, **full) as queue, publishing(amqp_url) as publisher:
        confirmed: list[bytes] = []
        for one in numbered(queue, 500):  # it takes some more than its length
            if not await _succeeds(publisher, one):
                break
            confirmed.append(one.body)
        kept = await bodies_in(queue)

    assert 5 <= len(confirmed) < 500
    assert kept == confirmed


async def test_a_missing_exchange_is_a_failure_and_the_session_comes_back(amqp_url: str) -> None:
    async with a_queue(amqp_url) as queue, publishing(amqp_url) as publisher:
        lost = message(queue, exchange="no-such-exchange")
        results = await publish_all(publisher, [*numbered(queue, 20), lost, *numbered(queue, 20)])
        await eventually(lambda: _succeeds(publisher, message(queue, b"after")))
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
        await eventually(lambda: _has(queue, 3))
        assert not publishes.done()
        assert await count_in(queue) == 3
        proxy.resume()
        results = await publishes
        assert not any(map(failed, results))
        assert sorted(map(int, await bodies_in(queue))) == list(range(10))


async def _has(queue: AbstractQueue, count: int) -> bool:
    return await count_in(queue) >= count


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
        await eventually(lambda: _succeeds(publisher, message(queue, b"after")))
        assert b"after" in await bodies_in(queue)


async def _succeeds(publisher: Publisher, one: Message) -> bool:
    try:
        await publisher.publish(one)
    except PublishFailed:
        return False
    return True


async def test_a_connection_cut_before_the_confirm_is_a_failure_though_the_message_landed(
    amqp_url: str, proxy: TcpProxy
) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url)) as publisher:
        proxy.stall("down")
        publish = asyncio.create_task(publish_all(publisher, [message(queue, b"once")]))
        await eventually(lambda: _has(queue, 1))
        proxy.cut()
        assert failed((await publish)[0])
        proxy.resume()
        await eventually(lambda: _succeeds(publisher, message(queue, b"twice")))
        assert await bodies_in(queue) == [b"once", b"twice"]


async def test_a_connection_cut_amid_the_bytes_of_a_message_is_a_failure(amqp_url: str, proxy: TcpProxy) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url)) as publisher:
        proxy.cut_after(10_000)
        assert failed((await publish_all(publisher, [message(queue, b"x" * 100_000)]))[0])
        await eventually(lambda: _succeeds(publisher, message(queue, b"after")))
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
        await eventually(lambda: _succeeds(publisher, message(queue)))


async def test_our_own_closing_of_the_connection_is_a_failure_for_what_is_in_flight(
    amqp_url: str, proxy: TcpProxy
) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url)) as publisher:
        proxy.stall("down")
        publishes = asyncio.create_task(publish_all(publisher, numbered(queue, 5)))
        await eventually(lambda: _has(queue, 5))
        publisher.session.rebuild("for the test")
        assert all(map(failed, await publishes))
        proxy.resume()
        await ready(publisher)


async def test_a_task_that_is_cancelled_while_it_publishes_is_cancelled(amqp_url: str, proxy: TcpProxy) -> None:
    async with a_queue(amqp_url) as queue, publishing(proxy.through(amqp_url)) as publisher:
        proxy.stall("down")
        task = asyncio.create_task(publisher.publish(message(queue)))
        await eventually(lambda: _has(queue, 1))
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
            await eventually(lambda: _succeeds(impatient, to(name, b"impatient")))
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
        await eventually(lambda: _succeeds(publisher, to(name, b"thawed")))
        assert b"thawed" in await bodies_on(node, name)


async def test_a_memory_alarm_is_a_failure_within_the_timeout_and_over_when_it_clears(node: PrivateNode) -> None:
    async with lasting_queue(node) as name, publishing(node.url, timeout_s=0.5) as publisher:
        await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            await eventually(lambda: _fails(publisher, to(name, b"blocked")))
            results = await publish_all(publisher, [to(name, b"blocked")] * 20)
            assert all(map(failed, results))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(publisher.unblocked(), 0.2)
        finally:
            await node.ctl("set_vm_memory_high_watermark", "0.4")
        await asyncio.wait_for(publisher.unblocked(), 10)
        await eventually(lambda: _succeeds(publisher, to(name, b"after")))
        assert b"after" in await bodies_on(node, name)


async def _fails(publisher: Publisher, one: Message) -> bool:
    return not await _succeeds(publisher, one)
