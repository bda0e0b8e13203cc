"""Consuming from a real broker: the table of settlements from end to end, and what happens when things break."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from structlog.testing import capture_logs
from yarl import URL

from consumers.messages import Delivery, Message
from consumers.notifications import read_notification
from consumers.outcomes import Hold, Reject, Retry
from consumers.settling import Schedule
from tests.processes import eventually
from worker.broker import declare
from worker.broker.consuming import Consuming
from worker.broker.deliver import Settler
from worker.broker.publisher import Publisher
from worker.broker.session import SetUp
from worker.broker.topology import Topology, topology_of
from worker.settings import Secret, load
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy

QUEUE = "calls.enrich.default"
DEAD = f"{QUEUE}.dead"
LEDGER = "calls.ledger"  # takes enriched calls and notes
TIER = "calls.retry.1s"
SETTLED_S = 2.0  # how long RabbitMQ 3.10 takes until a new quorum queue outlives kill -9

Answer = tuple[Message, ...]
Say = Answer | BaseException | Callable[[Delivery], Awaitable[Answer]]


@dataclass
class Script:
    """A consumer that says what it is told to, one after the other and then nothing; it remembers what it was given."""

    says: list[Say] = field(default_factory=list)
    heard: list[Delivery] = field(default_factory=list)

    async def handle(self, delivery: Delivery, _now: float) -> Answer:
        self.heard.append(delivery)
        say = self.says.pop(0) if self.says else ()
        if isinstance(say, BaseException):
            raise say
        return await say(delivery) if callable(say) else say

    def numbers(self) -> list[int]:
        return [int(delivery.body) for delivery in self.heard]


def emission(body: bytes = b"{}", **changes: Any) -> Message:
    key = "call.enriched.default.completed.customer-ended"
    return Message(**{"exchange": "calls", "routing_key": key, "body": body, "type": "call.enriched"} | changes)


async def emitted(delivery: Delivery) -> Answer:
    return (emission(delivery.body),)


async def forever(_delivery: Delivery) -> Answer:
    await asyncio.Event().wait()
    return ()


def topology(url: str, tiers: str = "1,2") -> Topology:
    keys = {"AMQP_URL": url, "RETRY_TIERS_S": tiers, "SUBSCRIBERS": "ledger"}
    return topology_of(load({f"AFTERCALL_{key}": value for key, value in keys.items()}))


def applying(wanted: Topology) -> SetUp:
    async def apply(connection: AbstractConnection, _channel: AbstractChannel) -> None:
        await declare.apply(connection, wanted)

    return apply


@asynccontextmanager
async def running(*sessions: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(session) for session in sessions]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def consuming(
    url: str, *says: Say, tiers: str = "1,2", prefetch: int = 32, publisher_url: str = "", **settling: Any
) -> AsyncIterator[tuple[Script, Consuming, Publisher]]:
    """A consumer of the queue that plays a script, and what it publishes with, both at work."""
    script, wanted = Script(list(says)), topology(url, tiers)
    publisher = Publisher(
        Secret(publisher_url or url),
        name="consumer",
        timeout_s=settling.pop("timeout_s", 5.0),
        is_patient=True,
        set_up=applying(wanted),
    )
    schedule = Schedule(tuple(map(int, tiers.split(","))), settling.pop("give_up_after_s", 90000))
    consumer = Consuming(
        Secret(url),
        queue=QUEUE,
        prefetch=prefetch,
        publisher=publisher,
        settler=Settler(script.handle, publisher.publish, schedule, **settling),
        set_up=applying(wanted.only(QUEUE)),
    )
    async with running(publisher.session.run(), consumer.run()):
        await eventually(consumer.is_consumed)
        yield script, consumer, publisher
        await consumer.stop(1.0)  # as a process does: between publish and ack a cut would bring the delivery again


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


async def put(url: str, *bodies: bytes, **properties: Any) -> None:
    """Put messages into the queue as anyone could."""
    async with by_hand(url) as channel:
        for body in bodies:
            await channel.default_exchange.publish(aio_pika.Message(body, **properties), QUEUE)


async def take(url: str, queue: str, within_s: float = 10) -> AbstractIncomingMessage:
    """The next message of a queue, taken out."""
    async with by_hand(url) as channel:
        found = await channel.get_queue(queue, ensure=False)
        return await eventually(lambda: found.get(no_ack=True, fail=False), within_s)


async def count(url: str, queue: str) -> int:
    async with by_hand(url) as channel:
        return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def holds(url: str, queue: str, number: int) -> bool:
    return await count(url, queue) == number


async def all_bodies(url: str, queue: str) -> set[bytes]:
    async with by_hand(url) as channel:
        found, bodies = await channel.get_queue(queue), set[bytes]()
        while (message := await found.get(no_ack=True, fail=False)) is not None:
            bodies.add(message.body)
    return bodies


def ours(message: AbstractIncomingMessage | Delivery) -> dict[str, Any]:
    """The headers of ours, without their prefix."""
    return {
        key.removeprefix("x-aftercall-"): value for key, value in message.headers.items() if key.startswith("x-after")
    }


@pytest.fixture
async def node_url(node: PrivateNode) -> str:
    """A virtual host of the test's own on that node."""
    virtual_host = f"test-{uuid4().hex[:12]}"
    await node.ctl("add_vhost", virtual_host)
    await node.ctl("set_permissions", "-p", virtual_host, URL(node.url).user or "", ".*", ".*", ".*")
    return str(URL(node.url).with_path(f"/{virtual_host}"))


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[TcpProxy]:
    address = URL(amqp_url)
    async with TcpProxy(address.host or "", address.port or 5672) as proxy:
        yield proxy


async def test_what_a_consumer_returns_is_published_and_its_delivery_acknowledged(amqp_url: str) -> None:
    async with consuming(amqp_url, (emission(b"one"), emission(b"two"))):
        await put(amqp_url, b"in")
        assert (await take(amqp_url, LEDGER)).body == b"one"
        assert (await take(amqp_url, LEDGER)).body == b"two"
    assert await count(amqp_url, QUEUE) == 0


async def test_a_consumer_sees_the_message_as_it_was_published(amqp_url: str) -> None:
    async with consuming(amqp_url) as (script, _, _):
        properties: dict[str, Any] = {"content_type": "a/b", "content_encoding": "gzip", "type": "t"}
        await put(
            amqp_url, b"\x00\xff", headers={"x-h": "é"}, correlation_id="id", timestamp=1_700_000_000, **properties
        )
        await eventually(lambda: script.heard)

    [seen] = script.heard
    assert (seen.queue, seen.body, seen.call_id, seen.headers["x-h"]) == (QUEUE, b"\x00\xff", "id", "é")
    assert (seen.content_type, seen.content_encoding, seen.type) == ("a/b", "gzip", "t")
    assert seen.published_at == 1_700_000_000


async def test_a_retry_comes_back_from_its_tier_as_the_next_attempt_and_is_noted(amqp_url: str) -> None:
    async with consuming(amqp_url, Retry("not yet", after=1.5)) as (script, _, _):
        began = time.time()
        await put(
            amqp_url, b"in", headers={"x-own": "kept", "traceparent": "t"}, correlation_id="id", type="call.ended"
        )
        await eventually(lambda: len(script.heard) == 2)
        waited_s = time.time() - began
        note = await take(amqp_url, LEDGER)

    first, second = script.heard
    assert waited_s > 1.9
    assert (second.body, second.call_id, second.type) == (b"in", "id", "call.ended")
    assert (second.headers["x-own"], second.headers["traceparent"]) == ("kept", "t")
    told = ours(second)
    assert (told["attempt"], told["last-error"], told["account"]) == (2, "not yet", "default")
    assert told["first-attempt-at"][:16] == told["received-at"][:16]
    assert "attempt" not in ours(first)
    assert note.routing_key == "call.noted.default.retried"
    assert (note.body, note.correlation_id, ours(note)["tier"], ours(note)["queue"]) == (b"", "id", "2s", QUEUE)
    assert await count(amqp_url, QUEUE) == 0


async def test_a_message_survives_many_trips_through_a_tier_with_a_history_that_begins_anew_each_time(
    amqp_url: str,
) -> None:
    async with consuming(amqp_url, *(Retry("again", after=1) for _ in range(4)), tiers="1") as (script, _, _):
        await put(amqp_url, b"in")
        await eventually(lambda: len(script.heard) == 5, within_s=15)

    assert [ours(delivery).get("attempt", 1) for delivery in script.heard] == [1, 2, 3, 4, 5]
    assert len({ours(delivery)["first-attempt-at"] for delivery in script.heard[1:]}) == 1
    for delivery in script.heard[1:]:
        assert [(death["queue"], death["count"]) for death in delivery.headers["x-death"]] == [(TIER, 1)]
    assert await count(amqp_url, QUEUE) == 0


async def test_a_hold_comes_back_without_an_attempt_counted(amqp_url: str) -> None:
    async with consuming(amqp_url, Hold("the API is down"), Hold("still")) as (script, _, _):
        await put(amqp_url, b"in", headers={"x-aftercall-attempt": 4})
        await eventually(lambda: len(script.heard) == 3)
        note = await take(amqp_url, LEDGER)

    assert [ours(delivery)["attempt"] for delivery in script.heard] == [4, 4, 4]
    assert ours(script.heard[2])["last-error"] == "still"
    assert note.routing_key == "call.noted.default.held"


async def test_what_goes_out_first_is_there_before_the_copy_that_waits(amqp_url: str) -> None:
    later = Retry("more to come", after=1, first=(emission(b"first"),), remember={"x-aftercall-version": 1})
    async with consuming(amqp_url, later, later) as (script, _, _):
        async with by_hand(amqp_url) as channel:
            await channel.exchange_delete(TIER)  # so that the copy fails at first
        await put(amqp_url, b"in")
        assert (await take(amqp_url, LEDGER)).body == b"first"
        await eventually(lambda: len(script.heard) >= 2, within_s=20)

    assert ours(script.heard[-1]).get("version") == 1


async def test_a_rejected_message_is_a_dead_letter_whole_and_with_its_story(amqp_url: str) -> None:
    async with consuming(amqp_url, Reject("no such customer")):
        await put(amqp_url, b"\xff\x00", headers={"x-own": 7}, correlation_id="id", content_encoding="odd", type="t")
        letter = await take(amqp_url, DEAD)
        note = await take(amqp_url, LEDGER)

    assert (letter.body, letter.content_encoding, letter.correlation_id, letter.type) == (b"\xff\x00", "odd", "id", "t")
    assert letter.headers["x-own"] == 7
    told = ours(letter)
    assert (told["queue"], told["reason"], told["detail"]) == (QUEUE, "rejected", "no such customer")
    assert (told["error-type"], told["attempt"]) == ("Reject", 1)
    assert told["died-at"] >= told["first-attempt-at"]
    assert note.routing_key == "call.noted.default.dead"
    assert await count(amqp_url, QUEUE) == 0


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"\xff\xfe no JSON \x00", None),
        (b"", None),
        (b'{"message": {"type": "status-update"}}', None),
        (b"not gzip", "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip"),
        (b"{}", "br"),
        (b"[" * 100_000, None),
    ],
)
async def test_what_is_no_notification_is_a_dead_letter_byte_for_byte(
    amqp_url: str, body: bytes, encoding: str | None
) -> None:
    async def read(delivery: Delivery) -> Answer:
        read_notification(delivery, 0)
        return ()

    async with consuming(amqp_url, read):
        await put(amqp_url, body, content_encoding=encoding)
        letter = await take(amqp_url, DEAD)

    assert (letter.body, letter.content_encoding or None) == (body, encoding)
    assert (ours(letter)["reason"], ours(letter)["error-type"]) == ("undecodable", "Undecodable")
    assert await count(amqp_url, QUEUE) == 0


@pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), asyncio.CancelledError("from within"), SystemError("odd")])
async def test_an_error_nobody_foresaw_is_tried_again_and_then_a_dead_letter_with_its_traceback(
    amqp_url: str, bug: BaseException
) -> None:
    async with consuming(amqp_url, bug, bug, tiers="1") as (script, _, _):
        await put(amqp_url, b"in")
        letter = await take(amqp_url, DEAD)
        await put(amqp_url, b"next")
        await eventually(lambda: script.heard[-1].body == b"next")

    told = ours(letter)
    assert (told["reason"], told["attempt"]) == ("error", 2)
    assert str(bug) in told["detail"]
    assert "Traceback" in told["detail"]
    assert await count(amqp_url, QUEUE) == 0


async def test_after_the_time_to_give_up_a_retry_is_a_dead_letter(amqp_url: str) -> None:
    async with consuming(amqp_url, Retry("not final yet"), give_up_after_s=60):
        await put(amqp_url, b"in", headers={"x-aftercall-first-attempt-at": "2020-01-01T00:00:00Z"})
        told = ours(await take(amqp_url, DEAD))

    assert (told["reason"], told["detail"]) == ("gave-up", "not final yet")
    assert told["first-attempt-at"].startswith("2020-01-01T00:00:00")


class Raw(str):
    """Text whose bytes are no UTF-8, as clients in other languages send it."""

    __slots__ = ()

    def encode(self, _encoding: str = "", _errors: str = "") -> bytes:
        return b"\xff\xfe"


GARBAGE: dict[str, Any] = {
    "x-aftercall-attempt": "many",
    "x-aftercall-version": [1, {"a": None}],
    "x-aftercall-received-at": 7,
    "x-aftercall-first-attempt-at": "yesterday",
    "x-aftercall-account": None,
    "x-aftercall-missing": True,
    "x-death": "of somebody else",
    "x-delivery-count": "many",
    "traceparent": 1.5,
    "ce-id": bytearray(b"\x00"),
}


@pytest.mark.parametrize(
    "headers", [{}, GARBAGE, {"x-odd": Raw("?"), "deep": {"in": [Raw("?")]}}, {"k" * 127: Raw("?")}]
)
async def test_headers_that_are_missing_or_make_no_sense_are_no_obstacle(
    amqp_url: str, headers: dict[str, Any]
) -> None:
    async with consuming(amqp_url, Retry("again", after=1), Reject("enough")) as (script, _, _):
        await put(amqp_url, b"in", headers=headers)
        letter = await take(amqp_url, DEAD)

    assert [ours(delivery).get("attempt") for delivery in script.heard][1:] == [2]
    assert letter.body == b"in"
    assert ours(letter)["attempt"] == 2
    assert await count(amqp_url, QUEUE) == 0


async def test_what_even_settling_fails_at_is_left_to_the_broker_to_dead_letter(amqp_url: str) -> None:
    misused: Any = Retry("again", first=3)  # type: ignore[arg-type]
    async with consuming(amqp_url, misused, prefetch=1) as (script, _, _):
        await put(amqp_url, b"in", b"next")
        assert (await take(amqp_url, DEAD)).body == b"in"
        await eventually(lambda: script.heard[-1].body == b"next")
    assert await count(amqp_url, QUEUE) == 0


async def test_a_consumer_that_hangs_is_cut_off_and_its_delivery_tried_again(amqp_url: str) -> None:
    async with consuming(amqp_url, forever, handle_max_s=0.2) as (script, _, _):
        await put(amqp_url, b"in")
        await eventually(lambda: len(script.heard) == 2)

    assert ours(script.heard[1])["last-error"] == "TimeoutError: the consumer took longer than 0.2 s"


async def test_a_time_out_of_the_consumers_own_is_told_in_its_own_words(amqp_url: str) -> None:
    async with consuming(amqp_url, TimeoutError("the CRM is slow")) as (script, _, _):
        await put(amqp_url, b"in")
        await eventually(lambda: len(script.heard) == 2)

    assert ours(script.heard[1])["last-error"] == "TimeoutError: the CRM is slow"


async def test_an_output_larger_than_the_broker_takes_makes_a_dead_letter(amqp_url: str) -> None:
    too_large = Retry("more to come", first=(emission(b"x" * 200),))
    async with consuming(amqp_url, (emission(b"x" * 101),), too_large) as (_, _, publisher):
        publisher.session.max_message_bytes = 100
        await put(amqp_url, b"one", b"two")
        letters = [await take(amqp_url, DEAD) for _ in range(2)]

    assert {letter.body for letter in letters} == {b"one", b"two"}
    assert {ours(letter)["reason"] for letter in letters} == {"too-large"}
    assert await count(amqp_url, QUEUE) == 0


@pytest.mark.parametrize("value", [2**70, "\ud83d", object()])
async def test_an_output_that_amqp_cannot_carry_counts_as_a_bug_of_its_consumer(amqp_url: str, value: Any) -> None:
    odd = (emission(headers={"x-odd": value}),)
    async with consuming(amqp_url, odd, odd, tiers="1"):
        await put(amqp_url, b"in")
        told = ours(await take(amqp_url, DEAD))

    assert (told["reason"], told["attempt"]) == ("error", 2)
    assert await count(amqp_url, QUEUE) == 0


async def test_a_reason_with_half_a_character_in_it_does_not_keep_a_message_from_the_dead_letters(
    amqp_url: str,
) -> None:
    async with consuming(amqp_url, Reject("cut \ud83d"), ValueError("cut \ud83d"), prefetch=1) as (script, _, _):
        await put(amqp_url, b"one", b"two")
        assert (await take(amqp_url, DEAD)).body == b"one"
        await eventually(lambda: len(script.heard) == 3)

    assert ours(script.heard[2])["last-error"].startswith("ValueError: cut ")


async def test_an_output_that_nobody_is_bound_to_lies_with_the_unrouted(amqp_url: str) -> None:
    async with consuming(amqp_url, (emission(b"homeless", routing_key="call.ended.nobody"),)):
        await put(amqp_url, b"in")
        assert (await take(amqp_url, "calls.unrouted")).body == b"homeless"
    assert await count(amqp_url, QUEUE) == 0


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
        await eventually(lambda: len(script.heard) > 1, within_s=30)
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
        await eventually(ends, within_s=15)  # (1 + 1) * 3 s, and each look takes two
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
            await eventually(lambda: len({delivery.body for delivery in script.heard}) >= cut * 90, 20)  # noqa: B023
            proxy.cut()
        await eventually(lambda: holds(amqp_url, QUEUE, 0), within_s=20)
        await eventually(consumer.is_consumed)
        await eventually(lambda: len({delivery.body for delivery in script.heard}) == 300, within_s=20)
    assert await all_bodies(amqp_url, LEDGER) | await all_bodies(amqp_url, QUEUE) == set(bodies)


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
        assert (await take(node_url, LEDGER, within_s=20)).type == "call.noted"
        assert (await take(node_url, LEDGER, within_s=20)).body == b"in"
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
        await eventually(lambda: len({delivery.body for delivery in script.heard}) == 50, within_s=30)
    assert await all_bodies(node_url, LEDGER) | await all_bodies(node_url, QUEUE) == set(bodies)
