"""Where a call may lie instead of with its subscribers: the places with a name, each with the reason."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import aiohttp
from aio_pika.abc import AbstractChannel

from consumers.messages import UNROUTED
from worker.broker.topology import subscriber_queue, topology_of
from worker.broker.watch import depths, opened
from worker.ingress.spool.set_aside import list_set_aside
from worker.simulate.drill.stage import Stage
from worker.simulate.tally import Letter, letter_of

UNREAD: Final = subscriber_queue("alerts")
"""In a drill nobody reads these."""
WAITING: Final = "aftercall_spool_notifications "
ACCOUNTED: Final = (
    "SELECT DISTINCT call_id FROM aftercall_events WHERE kind IN ('enriched', 'amended', 'dead', 'discarded')"
)


async def letters(stage: Stage) -> list[Letter]:
    """Every dead letter, unrouted message and record set aside; all of them stay where they are."""
    queues = tuple(each.name for each in topology_of(stage.settings).queues if each.name.endswith(".dead"))
    async with opened(stage.node.url) as channel:
        lying = await depths(channel, (*queues, UNROUTED))
        found = [letter for queue, depth in lying.items() if depth for letter in await _letters(channel, queue)]
    set_aside = await asyncio.to_thread(list_set_aside, stage.spool)
    return found + [Letter(record.message.call_id, "spool", record.reason) for record in set_aside]


async def _letters(channel: AbstractChannel, queue: str) -> list[Letter]:
    lying = await channel.get_queue(queue, ensure=False)
    found: list[Letter] = []
    while (letter := await lying.get(fail=False, no_ack=False)) is not None:  # goes back with the channel
        read = letter_of(letter.headers, letter.correlation_id or "", queue.removesuffix(".dead"))
        found.append(Letter(read.call_id, UNROUTED, "unrouted") if queue == UNROUTED else read)
    return found


async def queued(stage: Stage) -> int:
    """How many messages lie in the queues that are consumed; those in tiers have their time to come."""
    queues = tuple(each.name for each in topology_of(stage.settings).queues if each.is_consumed)
    async with opened(stage.node.url) as channel:
        found = await depths(channel, tuple(name for name in queues if name != UNREAD))
    return sum(found.values())


async def spooled(stage: Stage) -> int:
    """How many records wait in the endpoint's spool."""
    async with aiohttp.ClientSession() as http, http.get(stage.spooled_url) as answer:
        lines = (await answer.text()).splitlines()
    return next(int(float(line.removeprefix(WAITING))) for line in lines if line.startswith(WAITING))


def in_ledger(database: Path) -> set[str]:
    """The calls that the ledger accounts for."""
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        return {str(call_id) for (call_id,) in connection.execute(ACCOUNTED)}
