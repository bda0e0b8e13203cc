"""Walking through a queue without taking anything out of it, unless told so.

A walk holds each letter it has seen, unacknowledged, until it ends; then those that it did not take go back. RabbitMQ
puts them back in their order if it takes them from one consumer after the other; `basic.get`, or a nack of many at
once, would shuffle them (measured on 3.10.8). So there is a channel for each `WINDOW` of letters, closed in turn.
What was given back once, RabbitMQ hands out before the rest, and puts what comes back behind it: a walk that ends early
must therefore hold all of those, or the first letters would change places with later ones. And what is on its way to a
consumer that is being cancelled goes back before all others: so the hands must be full before they let go.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity

from consumers.dead_letters import Letter, letter_of
from consumers.messages import Delivery
from worker.broker.deliver import read
from worker.broker.reach import BrokerAway

CLOSE_S: Final = 5.0
STEP_S: Final = 10.0
QUIET_S: Final = 1.0
"""Without a letter for so long we ask whether there is one: another command may hold the rest."""
BACK_S: Final = 3.0
"""Until the letters are there again; not longer, since another command may have taken some of them at once."""
POLL_S: Final = 0.02
RESTORE_S: Final = 15.0
"""For the sake of the order no longer than this: it is a courtesy, and somebody waits."""
WINDOW: Final = 200
"""Letters on their way to us at most, whole; the broker must hold them in memory, and so must we."""
WALK_MAX: Final = 2000 * WINDOW
"""Letters a walk can hold: a connection has 2,047 channels."""


class Found(msgspec.Struct, frozen=True):
    """A letter where it lies, with all of the message. `take` removes it from there."""

    letter: Letter
    delivery: Delivery
    take: Callable[[], Awaitable[None]]


class DeadQueue:
    """A queue of dead letters."""

    def __init__(self, connection: AbstractConnection, name: str) -> None:
        self._connection = connection
        self.name = name

    async def depth(self) -> int | None:
        """How many letters lie ready; None if there is no such queue. Raises `AMQPError`, `OSError`."""
        return await depth_of(self._connection, self.name)

    @asynccontextmanager
    async def walk(self, most: int) -> AsyncIterator[AsyncIterator[Found]]:
        """Each letter once, in order. Raises `BrokerAway` when the broker takes the letters back."""
        held = _Held(self._connection, self.name, min(most, WALK_MAX))
        try:
            async with aclosing(held.letters()) as letters:
                yield letters
        finally:
            await held.give_back()


class _Held:
    """The letters of one walk: what has come, what was kept, and the channels that hold them."""

    def __init__(self, connection: AbstractConnection, name: str, most: int) -> None:
        self._connection = connection
        self._name = name
        self._most = most
        self._channels: list[AbstractChannel] = []
        self._consumed: list[tuple[AbstractQueue, str]] = []
        self._come: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self._arrived = 0
        self._seen = 0
        self._kept = 0
        self._taken = 0
        self._newest_was_given_back = False

    async def letters(self) -> AsyncGenerator[Found, None]:
        """The letters as they come, until there are no more or as many as asked for have come."""
        while (incoming := await self._next()) is not None:
            yield self._found(incoming)

    async def _widen(self) -> None:
        """Another channel, with room for another window of letters."""
        async with asyncio.timeout(STEP_S):
            channel = await self._connection.channel(publisher_confirms=False)
            self._channels.append(channel)
            channel.close_callbacks.add(lambda *_: self._come.put_nowait(None))
            await channel.set_qos(prefetch_count=WINDOW)
            queue = await channel.get_queue(self._name, ensure=False)
            self._consumed.append((queue, await queue.consume(self._arrive)))

    async def _arrive(self, incoming: AbstractIncomingMessage) -> None:
        self._arrived += 1
        self._newest_was_given_back = bool(incoming.redelivered)
        self._come.put_nowait(incoming)

    async def _next(self) -> AbstractIncomingMessage | None:
        """The next letter, which is held from now on; None if there are no more."""
        if self._seen == self._most:
            return None
        if self._kept >= WINDOW * len(self._channels):
            await self._widen()
        incoming = await self._come_next()
        if incoming is not None:
            self._seen += 1
            self._kept += 1
        return incoming

    async def _come_next(self) -> AbstractIncomingMessage | None:
        try:
            async with asyncio.timeout(QUIET_S):
                incoming = await self._come.get()
        except TimeoutError:
            return await self._asked_for()
        if incoming is None:
            raise BrokerAway("the broker took the letters back that were being looked at")
        return incoming

    async def _asked_for(self) -> AbstractIncomingMessage | None:
        """What the queue still has: nothing, if others hold the rest."""
        async with asyncio.timeout(STEP_S):
            incoming = await self._consumed[-1][0].get(fail=False)
        self._arrived += incoming is not None
        return incoming

    def _found(self, incoming: AbstractIncomingMessage) -> Found:
        async def take() -> None:
            async with asyncio.timeout(STEP_S):
                await incoming.ack()
            self._kept -= 1
            self._taken += 1

        delivery = read(incoming, self._name)
        letter = letter_of(
            delivery,
            exchange=incoming.exchange or "",
            routing_key=incoming.routing_key or "",
            message_id=incoming.message_id or "",
        )
        return Found(letter, delivery, take)

    async def give_back(self) -> None:
        """End the walk: take no more first, or what one channel gives back would come to the next."""
        with suppress(AMQPError, BrokerAway, OSError, RuntimeError):  # the connection has gone: they are back already
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTORE_S):
                    await self._fill_hands()
            async with asyncio.timeout(CLOSE_S + len(self._channels)):
                for queue, tag in self._consumed:
                    await queue.cancel(tag)
                for channel in self._channels:
                    await channel.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(BACK_S):
                    await self._see_them_back()

    async def _see_them_back(self) -> None:
        """A channel is closed before its letters are back: who looks again at once would miss the first ones."""
        held = self._arrived - self._taken
        while (await depth_of(self._connection, self._name) or 0) < held:  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(POLL_S)

    async def _fill_hands(self) -> None:
        """Hold all that a consumer may be sent, and all that was given back before."""
        while 0 < self._arrived < self._most:
            if self._arrived - self._taken < WINDOW * len(self._channels):
                if await self._come_next() is None:
                    return
            elif self._newest_was_given_back:
                await self._widen()
            else:
                return


async def depth_of(connection: AbstractConnection, queue: str) -> int | None:
    """How many messages lie ready in a queue; None if there is no such queue."""
    async with asyncio.timeout(STEP_S):
        channel = await connection.channel(publisher_confirms=False)
        try:
            found = await channel.declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:  # which closes the channel
            return None
        await channel.close()
    return found.declaration_result.message_count or 0
