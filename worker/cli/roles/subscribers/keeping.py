"""Keeping what deliveries tell in a database: while it is away they are better left in their queue."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aio_pika.abc import AbstractChannel, AbstractConnection

from consumers.messages import Delivery, Message
from consumers.outcomes import DatabaseAway, Hold
from worker.broker.deliver import Handle
from worker.operate.telemetry import logger

if TYPE_CHECKING:
    from worker.broker.consuming import Consuming

LET_GO_S: Final = 20.0
"""With the time that the database had to answer in, less than a delivery may take; the session is anew long before."""
REACH_S: Final = 8.0
LOOK_EVERY_S: Final = 1.0


class Keeping:
    """Keeps deliveries while the database is there, and leaves them in the queue while it is not.

    Then the session with the broker is ended, which gives all that is in hand back to the queue, and is not begun again
    before the database can be written: no attempt is spent, and nothing goes round, which the queue would count. `keep`
    and `answers` raise `DatabaseAway`; `named` is what the database is called.
    """

    def __init__(self, named: str, *, keep: Handle, answers: Callable[[], Awaitable[None]]) -> None:
        self.consuming: Consuming | None = None
        self._named = named
        self._keep = keep
        self._answers = answers
        self._is_away = False

    async def handle(self, delivery: Delivery, now: float) -> tuple[Message, ...]:
        """Keep what a delivery tells."""
        try:
            return await self._keep(delivery, now)
        except DatabaseAway as error:
            self._note(error)
            if self.consuming is not None:
                self.consuming.session.rebuild(f"the {self._named}'s database is away")
            await asyncio.sleep(LET_GO_S)  # the session cancels this as soon as it is built anew
            raise Hold(str(error)) from error

    async def reach(self, _connection: AbstractConnection, _channel: AbstractChannel) -> None:
        """Wait a little for the database: the last step before the queue is consumed. Raises `DatabaseAway`."""
        give_up_at = time.monotonic() + REACH_S
        while (trouble := await self._trouble()) is not None:
            self._note(trouble)
            if time.monotonic() > give_up_at:
                raise trouble
            await asyncio.sleep(LOOK_EVERY_S)
        self._note(None)

    async def _trouble(self) -> DatabaseAway | None:
        try:
            await self._answers()
        except DatabaseAway as error:
            return error
        return None

    def _note(self, trouble: DatabaseAway | None) -> None:
        """Log each change, once."""
        if trouble and not self._is_away:
            logger().warning(f"{self._named}.away", detail=str(trouble))
        elif self._is_away and not trouble:
            logger().info(f"{self._named}.back")
        self._is_away = trouble is not None
