"""Spool, drain and publisher with a real broker, in one process: what is spooled comes out as if it never had been."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from consumers.messages import DEAD, EVENTS, WEBHOOK, Message
from consumers.notifications import write_notification
from consumers.settling import note, story_of
from tests.processes import eventually
from worker.broker import declare
from worker.broker.publisher import Publisher
from worker.broker.topology import topology_of
from worker.ingress.spool.drain import Drain
from worker.ingress.spool.keeper import Gate, Keeper
from worker.ingress.spool.set_aside import list_set_aside, replay_set_aside
from worker.ingress.spool.writer import Spool
from worker.settings import load

QUEUE = "calls.enrich.default"


class Rig:
    """A keeper and what it is made of; `goes_away` hides the broker from it."""

    def __init__(self, url: str, publisher: Publisher, spool: Spool) -> None:
        self.url = url
        self.publisher = publisher
        self.spool = spool
        self.is_away = False
        self.gate = Gate(lambda: publisher.session.ready.is_set() and not self.is_away)
        self.keeper = Keeper(publisher.publish, spool.keep, self.gate)
        self.drain = Drain(spool, publisher.publish, self.gate, publisher.unblocked)

    async def drained(self) -> None:
        while await self.drain.step():
            pass

    async def take(self, queue: str = QUEUE) -> list[AbstractIncomingMessage]:
        taken = []
        async with await aio_pika.connect(self.url) as connection:
            waiting = await (await connection.channel()).get_queue(queue, ensure=False)
            while message := await waiting.get(fail=False, no_ack=True):
                taken.append(message)
        return taken


@asynccontextmanager
async def rigged(url: str, folder: Path) -> AsyncIterator[Rig]:
    keys = {"AFTERCALL_VAPI_API_KEY": "key", "AFTERCALL_ACCOUNTS__B__VAPI_API_KEY": "key"}
    settings = load({"AFTERCALL_AMQP_URL": url} | keys)

    async def set_up(connection: AbstractConnection, _channel: AbstractChannel) -> None:
        await declare.apply(connection, topology_of(settings))

    publisher = Publisher(settings.amqp_url, name="test", timeout_s=2, is_patient=False, set_up=set_up)
    session = asyncio.create_task(publisher.session.run())
    spool = Spool(folder, 2**30)
    await spool.open()
    try:
        await eventually(publisher.session.ready.is_set)
        yield Rig(url, publisher, spool)
    finally:
        await spool.close()
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


@pytest.fixture
async def rig(amqp_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(amqp_url, tmp_path) as rig:
        yield rig


def notification(call_id: str = "call-1", account: str = "default", body: bytes = b"{}") -> Message:
    packed = (body, None)
    trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"
    return write_notification(
        packed, account=account, call_id=call_id, source="webhook", received_at=1000.0, traceparent=trace
    )


def letter() -> Message:
    story = story_of(WEBHOOK, "undecodable", "not JSON", "Unidentified", 1000.0)
    return Message(exchange=DEAD, routing_key=WEBHOOK, body=b"\xff\x00", type="webhook", headers=story)


def seen(message: AbstractIncomingMessage) -> dict[str, Any]:
    """All that a consumer can tell, but for what is of the publish itself."""
    names = ("body", "headers", "type", "correlation_id", "content_type", "content_encoding", "app_id", "delivery_mode")
    told = {name: getattr(message, name) for name in (*names, "exchange", "routing_key")}
    told["headers"] = {key: value for key, value in message.headers.items() if key != "ce-id"}
    return told


@pytest.mark.parametrize(
    ("message", "queue"),
    [
        (notification(), QUEUE),
        (notification(body=bytes(range(256)) * 9000), QUEUE),
        (letter(), "calls.webhook.dead"),
        (note("parked", "default", "call-1", 1000.0, {"x-aftercall-reason": "no-type"}), "calls.ledger"),
    ],
    ids=["notification", "large", "parked letter", "note"],
)
async def test_what_was_spooled_cannot_be_told_from_what_was_published(rig: Rig, message: Message, queue: str) -> None:
    assert await rig.keeper.accept(message) == "published"
    rig.is_away = True
    assert await rig.keeper.accept(message) == "spooled"
    rig.is_away = False

    await rig.drained()

    published, spooled = await rig.take(queue)
    assert seen(published) == seen(spooled)
    assert published.headers.get("ce-id") == spooled.headers.get("ce-id"), "the key by which duplicates are dropped"
    assert published.message_id != spooled.message_id


async def test_a_thousand_come_out_in_their_order_and_once_each(rig: Rig) -> None:
    rig.is_away = True
    await asyncio.gather(*(rig.keeper.accept(notification(f"call-{number}")) for number in range(1000)))
    kept = [record.message.call_id for record in await rig.spool.oldest(1000)]
    rig.is_away = False

    await rig.drained()

    assert [message.correlation_id for message in await rig.take()] == kept
    assert rig.spool.totals.waiting == 0


async def test_one_too_large_is_set_aside_and_replayed_when_the_broker_takes_it(rig: Rig, tmp_path: Path) -> None:
    limit, rig.publisher.session.max_message_bytes = rig.publisher.session.max_message_bytes, 100
    assert await rig.keeper.accept(notification("large", body=bytes(200))) == "spooled"
    assert await rig.keeper.accept(notification("small")) == "published"
    await rig.drained()
    (aside,) = list_set_aside(tmp_path)
    assert (aside.reason, aside.message.call_id) == ("too-large", "large")

    rig.publisher.session.max_message_bytes = limit
    assert replay_set_aside(tmp_path, aside.id)
    await rig.spool.tend()
    await rig.drained()

    assert {message.correlation_id for message in await rig.take()} == {"large", "small"}
    assert rig.spool.totals.aside == 0


async def test_headers_that_amqp_cannot_carry_are_set_aside(rig: Rig, tmp_path: Path) -> None:
    odd = Message(exchange=EVENTS, routing_key="call.ended.default", body=b"", type="t", headers={"x": 2**64 - 1})
    await rig.spool.keep(notification("fine"))

    assert await rig.keeper.accept(odd) == "spooled"
    await rig.drained()

    assert [aside.reason for aside in list_set_aside(tmp_path)] == ["error"]
    assert [message.correlation_id for message in await rig.take()] == ["fine"]


async def test_a_queue_that_refuses_delays_no_other_account(rig: Rig) -> None:
    async with await aio_pika.connect(rig.url) as connection:
        channel = await connection.channel()
        full = await channel.declare_queue(
            "full",
            durable=True,
            arguments={"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"},
        )
        await full.bind(EVENTS, "call.ended.b")
    for number in range(40):
        await rig.spool.keep(notification(f"bad-{number}", "b"))
        await rig.spool.keep(notification(f"good-{number}"))

    async def good() -> bool:
        await rig.drain.step()
        return all(record.message.routing_key == "call.ended.b" for record in await rig.spool.oldest(100))

    await eventually(good)

    found = {message.correlation_id for message in await rig.take()}
    assert {f"good-{number}" for number in range(40)} <= found
    assert not rig.gate.lets(notification("bad", "b"))
    assert await rig.keeper.accept(notification("live")) == "published"


async def test_live_messages_overtake_a_backlog(rig: Rig) -> None:
    rig.is_away = True
    await asyncio.gather(*(rig.keeper.accept(notification(f"old-{number}")) for number in range(500)))
    rig.is_away = False
    draining = asyncio.ensure_future(rig.drained())

    assert await rig.keeper.accept(notification("live")) == "published"
    assert rig.spool.totals.waiting > 0

    await draining
    assert len(await rig.take()) == 501
