"""The ledger's parts: its database, the consumer that writes into it, and what is deleted from it in time."""

import asyncio
import random
import time
from contextlib import suppress
from functools import partial
from typing import Final

from consumers.ledger import keep
from consumers.outcomes import DatabaseAway
from worker.broker.topology import subscriber_queue
from worker.cli.roles.subscribers.keeping import Keeping
from worker.cli.running.process import Process
from worker.clients.ledger.ledger import Ledger
from worker.operate.telemetry import logger

PRUNE_EVERY_S: Final = 3600.0


async def start_ledger(process: Process) -> None:
    """Write every event of every call into the ledger, and delete what is older than it is to keep."""
    ledger = await process.ledger()
    keeping = Keeping("ledger", keep=partial(keep, record=ledger.record), answers=ledger.reach)
    keeping.consuming = process.consume(
        subscriber_queue("ledger"),
        keeping.handle,
        then=keeping.reach,
        notes=False,  # of its own troubles it would have to write notes, which bring it into more of them
    )
    process.run(_prune_now_and_then(ledger, process.settings.ledger_keep_s), "ledger's pruning")


async def _prune_now_and_then(ledger: Ledger, keep_s: float) -> None:
    while True:
        with suppress(DatabaseAway):
            while deleted := await ledger.prune(time.time() - keep_s):
                logger().info("ledger.pruned", events=deleted)
        await asyncio.sleep(PRUNE_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311  # so that several processes part
