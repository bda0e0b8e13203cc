"""What can happen to the broker and to what is declared on it."""

import asyncio
import time
from typing import Final

from aio_pika.abc import AbstractQueue

from consumers.messages import EVENTS, REQUEUE
from worker.broker.topology import enrich_queue
from worker.broker.watch import opened
from worker.simulate.drill.stage import Stage

CLOSE_EVERY_S: Final = 2.0
LOOK_EVERY_S: Final = 0.2
QUEUE: Final = enrich_queue("default")
KEY: Final = "call.ended.default"
EMPTY_WITHIN_S: Final = 12.0
DELETED: Final = "deleted"
# Within the broker, so that nothing comes in between the look and the deletion.
DELETE_IF_EMPTY: Final = f"""
{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{QUEUE}">>)),
{{ok, {{_, N}}, _}} = ra:leader_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_total/1),
case N of 0 -> rabbit_amqqueue:delete(Q, false, false, <<"drill">>), {DELETED}; _ -> N end.
"""


async def kill(stage: Stage, lasts_s: float) -> None:
    """SIGKILL, and a start after a while."""
    await stage.settled()
    await stage.node.kill()
    await asyncio.sleep(lasts_s)
    await stage.node.restart()


async def freeze(stage: Stage, lasts_s: float) -> None:
    """SIGSTOP: its connections stay open, and nobody answers."""
    stage.node.pause()
    await asyncio.sleep(lasts_s)
    stage.node.resume()


async def close_connections(stage: Stage, lasts_s: float) -> None:
    """Every connection is closed by the broker, again and again."""
    until = time.monotonic() + lasts_s
    while time.monotonic() < until:
        await stage.node.ctl("close_all_connections", "--global", "the drill")
        await asyncio.sleep(CLOSE_EVERY_S)


async def memory_alarm(stage: Stage, lasts_s: float) -> None:
    """The broker reads nothing from those who publish."""
    await stage.node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    await asyncio.sleep(lasts_s)
    await stage.node.ctl("set_vm_memory_high_watermark", "0.4")


async def unbind_queue(stage: Stage, lasts_s: float) -> None:
    """What is published to `calls` for the enricher finds no queue: it lands in `calls.unrouted`."""
    async with opened(stage.node.url) as channel:
        queue = await channel.get_queue(QUEUE, ensure=False)
        await queue.unbind(EVENTS, KEY)
        await asyncio.sleep(lasts_s)
        await queue.bind(EVENTS, KEY)


async def delete_queue(stage: Stage, lasts_s: float) -> None:
    """The enricher's queue is deleted while it is consumed; empty, for what lies in it would be deleted by us.

    So it is unbound first and everything for it lies in `calls.unrouted`, till its consumer declares it again.
    """
    give_up_at = time.monotonic() + EMPTY_WITHIN_S
    async with opened(stage.node.url) as channel:
        queue = await channel.get_queue(QUEUE, ensure=False)
        is_deleted = await _delete_if_empty(stage, queue)
        while not is_deleted and time.monotonic() < give_up_at:
            await asyncio.sleep(LOOK_EVERY_S)
            is_deleted = await _delete_if_empty(stage, queue)
    stage.declared_at = time.monotonic()
    await asyncio.sleep(lasts_s)
    await stage.command("topology", "apply")
    stage.declared_at = time.monotonic()
    if not is_deleted:
        raise RuntimeError("the queue was unbound, but did not become empty: not deleted")


async def _delete_if_empty(stage: Stage, queue: AbstractQueue) -> bool:
    # Each time: a consumer that starts binds it again.
    await queue.unbind(EVENTS, KEY)
    await queue.unbind(REQUEUE, QUEUE)
    return DELETED in await stage.node.ctl("eval", DELETE_IF_EMPTY)


async def delete_exchange(stage: Stage, lasts_s: float) -> None:
    """The exchange of all events is deleted, with everybody's bindings."""
    async with opened(stage.node.url) as channel:
        await channel.exchange_delete(EVENTS)
    await asyncio.sleep(lasts_s)
