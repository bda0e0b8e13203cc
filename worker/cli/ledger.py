"""The ledger's parts: its database, the consumer that writes into it, and what is deleted from it in time."""

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aio_pika.abc import AbstractChannel, AbstractConnection

from consumers.ledger import LedgerAway, keep
from consumers.messages import Delivery, Message
from consumers.outcomes import Hold
from worker.broker.topology import subscriber_queue
from worker.cli.process import Process
from worker.clients.ledger.ledger import Ledger, open_ledger
from worker.operate.telemetry import logger

if TYPE_CHECKING:
    from worker.broker.consuming import Consuming

LET_GO_S: Final = 20.0
"""With the time that the database had to answer in, less than a delivery may take; the session is anew long before."""
REACH_S: Final = 8.0
LOOK_EVERY_S: Final = 1.0
PRUNE_EVERY_S: Final = 3600.0


async def start_ledger(process: Process) -> None:
    """Write every event of every call into the ledger, and delete what is older than it is to keep."""
    ledger = await process.stack.enter_async_context(open_ledger(process.settings))
    writing = Writing(ledger)
    writing.consuming = process.consume(
        subscriber_queue("ledger"),
        writing.handle,
        then=writing.reach,
        notes=False,  # of its own troubles it would have to write notes, which bring it into more of them
    )
    process.run(_prune_now_and_then(ledger, process.settings.ledger_keep_s), "ledger's pruning")


class Writing:
    """Writes deliveries while the database is there, and leaves them in the queue while it is not.

    Then the session with the broker is ended, which gives all that is in hand back to the queue, and is not begun again
    before the database answers: no attempt is spent, and nothing goes round.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.consuming: Consuming | None = None
        self._ledger = ledger
        self._is_away = False

    async def handle(self, delivery: Delivery, now: float) -> tuple[Message, ...]:
        """Write the event of a delivery."""
        try:
            return await keep(delivery, now, record=self._ledger.record)
        except LedgerAway as error:
            self._note(error)
            if self.consuming is not None:
                self.consuming.session.rebuild()
            await asyncio.sleep(LET_GO_S)  # the session cancels this as soon as it is built anew
            raise Hold(str(error)) from error

    async def reach(self, _connection: AbstractConnection, _channel: AbstractChannel) -> None:
        """Wait a little for the database: the last step before the queue is consumed. Raises `LedgerAway`."""
        give_up_at = time.monotonic() + REACH_S
        while (trouble := await self._trouble()) is not None:
            self._note(trouble)
            if time.monotonic() > give_up_at:
                raise trouble
            await asyncio.sleep(LOOK_EVERY_S)
        self._note(None)

    async def _trouble(self) -> LedgerAway | None:
        try:
            await self._ledger.reach()
        except LedgerAway as error:
            return error
        return None

    def _note(self, trouble: LedgerAway | None) -> None:
        """Log each change, once."""
        if trouble and not self._is_away:
            logger().warning("ledger.away", detail=str(trouble))
        elif self._is_away and not trouble:
            logger().info("ledger.back")
        self._is_away = trouble is not None


async def _prune_now_and_then(ledger: Ledger, keep_s: float) -> None:
    while True:
        with suppress(LedgerAway):
            while deleted := await ledger.prune(time.time() - keep_s):
                logger().info("ledger.pruned", events=deleted)
        await asyncio.sleep(PRUNE_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311  # so that several processes part
