"""Publishing to a real broker: publishers at work, queues to look into, and what came of each publish."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

from consumers.messages import Message
from tests.processes import PATIENCE_S, eventually
from worker.broker.publisher import Publisher, PublishFailed
from worker.settings import Secret

EVENTS = "amq.topic"  # there from the start, and without an alternate exchange
QUORUM = {"x-queue-type": "quorum"}


async def nothing(_connection: AbstractConnection, _channel: AbstractChannel) -> None:
    pass


@asynccontextmanager
async def publishing(url: str, **changes: Any) -> AsyncIterator[Publisher]:
    """A publisher whose session is ready."""
    defaults = {"name": "test", "timeout_s": 5.0, "is_patient": False, "set_up": nothing}
    publisher = Publisher(Secret(url), **defaults | changes)
    session = asyncio.create_task(publisher.session.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
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


async def ready(publisher: Publisher) -> None:
    await eventually(publisher.session.ready.is_set)


async def has(queue: AbstractQueue, count: int) -> bool:
    return await count_in(queue) >= count


async def succeeds(publisher: Publisher, one: Message) -> bool:
    try:
        await publisher.publish(one)
    except PublishFailed:
        return False
    return True


async def fails(publisher: Publisher, one: Message) -> bool:
    return not await succeeds(publisher, one)
