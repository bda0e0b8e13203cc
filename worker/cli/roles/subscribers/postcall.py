"""The archive's parts: its database, the consumer that keeps calls in it, and what is deleted from it in time."""

import asyncio
import random
import time
from contextlib import suppress
from functools import partial
from typing import Final

from consumers.outcomes import DatabaseAway
from consumers.postcall import keep
from worker.broker.topology import subscriber_queue
from worker.cli.roles.subscribers.keeping import Keeping
from worker.cli.running.process import Process
from worker.clients.archive.archive import Archive, open_archive
from worker.operate.telemetry import logger
from worker.settings import Settings

PRUNE_EVERY_S: Final = 600.0


async def start_postcall(process: Process) -> None:
    """Keep each enriched call in the archive, and delete those that their account is to keep no longer."""
    archive = await process.stack.enter_async_context(open_archive(process.settings))
    keeping = Keeping("archive", keep=partial(keep, save=archive.save), answers=archive.reach)
    keeping.consuming = process.consume(subscriber_queue("postcall"), keeping.handle, then=keeping.reach)
    process.run(_prune_now_and_then(archive, process.settings), "archive's pruning")


async def _prune_now_and_then(archive: Archive, settings: Settings) -> None:
    kept_s = {account.name: account.archive_keep_s for account in settings.accounts}
    while True:
        with suppress(DatabaseAway):
            while deleted := await archive.prune(kept_s, settings.archive_keep_s, time.time()):
                logger().info("archive.pruned", calls=deleted)
        await asyncio.sleep(PRUNE_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311  # so that several processes part
