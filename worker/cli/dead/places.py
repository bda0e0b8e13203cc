"""Where dead letters lie: the queues of the broker that keep them, and what the endpoint's spool has set aside."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import msgspec
from aio_pika.abc import AbstractConnection

from consumers.dead_letters import SPOOL, SUFFIX, Wanted, letter_of
from consumers.messages import UNROUTED, Delivery
from worker.broker.dead_letters import Source, walk_each
from worker.broker.reach import reached
from worker.broker.topology import Topology, dead_queue, topology_of
from worker.broker.walk import WALK_MAX, DeadQueue, Found
from worker.cli.broker import needing_broker
from worker.cli.output import say
from worker.ingress.spool.set_aside import SetAside, discard_set_aside, list_set_aside, show_set_aside
from worker.ingress.spool.writer import SpoolFailed
from worker.settings import Settings


class Place(msgspec.Struct, frozen=True):
    """Where a command looks: the broker, the topology of the settings, the places that exist, and which letters."""

    connection: AbstractConnection
    topology: Topology
    sources: tuple[Source, ...]
    wanted: Wanted

    def letters(self) -> AbstractAsyncContextManager[AsyncGenerator[Found, None]]:
        """The wanted letters; those not taken lie in their places again when the block ends."""
        return aclosing(walk_each(self.sources, self.wanted))


@asynccontextmanager
async def opened(settings: Settings, wanted: Wanted) -> AsyncIterator[Place]:
    """The places where letters lie; those that do not exist are told of. Raises `Unreachable`."""
    with needing_broker():
        async with reached(settings.amqp_url) as connection:
            topology = topology_of(settings)
            asked = [*_queues(connection, topology, wanted.queues), *_spool(settings, wanted.queues)]
            yield Place(connection, topology, await _existing(asked), wanted)


def _queues(connection: AbstractConnection, topology: Topology, asked: frozenset[str]) -> list[Source]:
    """The dead letters of every queue of the settings; of those asked for, also ones the settings do not know."""
    names = [queue.name for queue in topology.queues if queue.name.endswith(SUFFIX) or queue.name == UNROUTED]
    if asked:
        names = sorted(UNROUTED if queue == UNROUTED else dead_queue(queue) for queue in asked - {SPOOL})
    return [DeadQueue(connection, name) for name in names]


def _spool(settings: Settings, asked: frozenset[str]) -> list[Source]:
    return [SpoolAside(Path(settings.spool_dir))] if not asked or SPOOL in asked else []


async def _existing(sources: Sequence[Source]) -> tuple[Source, ...]:
    depths = {}
    for source in sources:
        try:
            depths[source.name] = await source.depth()
        except SpoolFailed as error:
            say(f"What the spool has set aside cannot be read: {error}")
            depths[source.name] = 0
    if missing := [name for name, depth in depths.items() if depth is None]:
        say(f"Not there: {', '.join(missing)}. `aftercall topology apply` declares the queues of the settings.")
    for name, depth in depths.items():
        if depth is not None and depth > WALK_MAX:
            say(f"{name} holds {depth:,} letters, of which only the first {WALK_MAX:,} are looked at.")
    return tuple(source for source in sources if depths[source.name])


class SpoolAside:
    """What the broker could not take, set aside in a folder of this machine: letters of the queue `spool`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = SPOOL

    async def depth(self) -> int | None:
        """How many there are. Raises `SpoolFailed`."""
        return len(await asyncio.to_thread(list_set_aside, self._folder))

    @asynccontextmanager
    async def walk(self, most: int) -> AsyncIterator[AsyncIterator[Found]]:
        """Each of them, the oldest first. Raises `SpoolFailed`."""
        yield self._letters(most)

    async def _letters(self, most: int) -> AsyncIterator[Found]:
        listed = await asyncio.to_thread(list_set_aside, self._folder)
        for each in listed[:most]:
            record = await asyncio.to_thread(show_set_aside, self._folder, each.id)
            if record is not None:
                yield self._found(record)

    def _found(self, record: SetAside) -> Found:
        async def take() -> None:
            await asyncio.to_thread(discard_set_aside, self._folder, record.id)

        message = record.message
        delivery = Delivery(
            queue=SPOOL,
            body=message.body,
            headers=message.headers,
            type=message.type,
            call_id=message.call_id,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            published_at=record.kept_at,
        )
        letter = letter_of(delivery, exchange=message.exchange, routing_key=message.routing_key, message_id=record.id)
        story = {"queue": SPOOL, "reason": record.reason, "detail": record.detail, "died_at": record.aside_at}
        return Found(msgspec.structs.replace(letter, id=record.id, error_type="", **story), delivery, take)
