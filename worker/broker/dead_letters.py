"""The dead letters of an installation: finding them, replaying or discarding one, and whether a replay would arrive."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec
from aio_pika.abc import AbstractConnection

from consumers.dead_letters import Wanted
from consumers.messages import DEAD, EVENTS, REQUEUE, UNROUTED, Message
from consumers.replays import Destination, note_of, replay_of
from worker.broker.topology import Topology, dead_queue
from worker.broker.walk import Found, depth_of

Publish = Callable[[Message], Awaitable[None]]


class Source(Protocol):
    """A place where dead letters lie."""

    @property
    def name(self) -> str:
        """Its name."""

    async def depth(self) -> int | None:
        """How many letters lie there for us to see; None if there is no such place."""

    def walk(self, most: int) -> AbstractAsyncContextManager[AsyncIterator[Found]]:
        """Each letter once, the oldest first, `most` at most; those not taken lie there again when the walk ends."""


async def walk_each(sources: Sequence[Source], wanted: Wanted) -> AsyncGenerator[Found, None]:
    """The wanted letters of all `sources`, one place after the other, each as deep as it is when its turn comes."""
    for source in sources:
        depth = await source.depth() or 0
        async with source.walk(depth) as letters:
            async for found in letters:
                if wanted.fits(found.letter):
                    yield found


class Desk(msgspec.Struct, frozen=True):
    """What acting on letters needs: a way to publish, whether the ledger is told, and a clock (epoch seconds)."""

    publish: Publish
    notes: bool
    clock: Callable[[], float] = time.time


async def replay(found: Found, destination: Destination, desk: Desk) -> None:
    """Publish a letter to its destination, confirmed, and take it from where it lies after that.

    Raises what publishing raises; the letter then lies where it lay. A crash in between leaves it in both places.
    """
    await desk.publish(replay_of(found.letter, found.delivery, destination))
    await _note("replayed", found, desk, destination)
    await found.take()


async def discard(found: Found, desk: Desk) -> None:
    """Take a letter away for good, once the ledger's note of it is safe. Raises what publishing raises."""
    await _note("discarded", found, desk)
    await found.take()


async def _note(what: str, found: Found, desk: Desk, destination: Destination | None = None) -> None:
    if desk.notes:
        await desk.publish(note_of(what, found.letter, desk.clock(), destination))


async def missing_for(connection: AbstractConnection, topology: Topology, destination: Destination) -> str:
    """The queue for want of which nothing would take a message published to `destination`; empty if one takes it."""
    takers = takers_of(topology, destination)
    for queue in takers:
        if await depth_of(connection, queue) is not None:
            return ""
    return takers[0] if takers else f"a queue for {destination}"


def takers_of(topology: Topology, destination: Destination) -> tuple[str, ...]:
    """The queues, any one of which takes what is published to `destination`."""
    if destination.exchange == REQUEUE:
        return (destination.routing_key,)
    if destination.exchange == DEAD:
        return (dead_queue(destination.routing_key),)
    bound = (each for each in topology.bindings if each.exchange == destination.exchange != UNROUTED)
    by_key = destination.exchange == EVENTS
    return tuple(each.queue for each in bound if not by_key or fits(each.key, destination.routing_key))


def fits(pattern: str, key: str) -> bool:
    """Whether a topic exchange takes `key` for `pattern`: `*` is one word, `#` any number of them."""
    return _fits(pattern.split("."), key.split("."))


def _fits(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_fits(pattern[1:], words[taken:]) for taken in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _fits(pattern[1:], words[1:])
