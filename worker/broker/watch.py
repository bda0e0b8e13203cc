"""Looking on: a copy of what passes an exchange, for as long as someone looks."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from consumers.messages import EVENTS
from worker.broker.reach import BrokerAway, reached
from worker.settings import Secret

BEHIND_MAX: Final = 10_000
"""Messages that wait for a slow looker at the broker; then the oldest are let go, for they are only copies."""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel for a command that asks the broker something. Raises `BrokerAway`."""
    async with reached(Secret(url)) as connection:
        yield await connection.channel(publisher_confirms=False)


async def watch(
    channel: AbstractChannel, patterns: tuple[str, ...], *, begun: Callable[[], object] = lambda: None
) -> AsyncIterator[AbstractIncomingMessage]:
    """Each message published to `calls` whose routing key fits, from the moment on at which `begun` is called.

    Raises `BrokerAway` when it ends.
    """
    seen: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
    queue = await channel.declare_queue(
        f"calls.watch.{uuid.uuid4().hex}", exclusive=True, auto_delete=True, arguments={"x-max-length": BEHIND_MAX}
    )
    for pattern in patterns:
        await queue.bind(EVENTS, pattern)
    await queue.consume(seen.put, no_ack=True)
    begun()
    closed = asyncio.ensure_future(channel.closed())
    closed.add_done_callback(lambda _closed: seen.put_nowait(None))
    try:
        while (message := await seen.get()) is not None:
            yield message
    finally:
        closed.cancel()
    raise BrokerAway("the broker went away")


async def depths(channel: AbstractChannel, queues: tuple[str, ...]) -> dict[str, int]:
    """How many messages lie ready in each queue."""
    found = {}
    for name in queues:
        queue = await channel.declare_queue(name, passive=True)
        found[name] = queue.declaration_result.message_count or 0
    return found
