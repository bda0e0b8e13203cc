"""Consuming from a real broker: the table of settlements from end to end, and what happens when things break."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from consumers.messages import Delivery, Message
from consumers.settling import Schedule
from tests.processes import eventually
from worker.broker import declare
from worker.broker.consuming import Consuming
from worker.broker.deliver import Settler
from worker.broker.publisher import Publisher
from worker.broker.session import SetUp
from worker.broker.topology import Topology, topology_of
from worker.settings import Secret, load

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
    url: str,
    *says: Say,
    tiers: str = "1,2",
    publisher_url: str = "",
    prefetch: int = 32,
    hands: dict[str, Any] | None = None,
    **settling: Any,
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
        **(hands or {}),
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


async def take(url: str, queue: str) -> AbstractIncomingMessage:
    """The next message of a queue, taken out."""
    async with by_hand(url) as channel:
        found = await channel.get_queue(queue, ensure=False)
        return await eventually(lambda: found.get(no_ack=True, fail=False))


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
