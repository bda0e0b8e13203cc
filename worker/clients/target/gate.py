"""The gate before one target: how many posts it has to answer at once, and when it is left alone.

Who is turned away comes again later, so that a target that is slow, silent or away takes no time from the others.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import msgspec

from consumers.outcomes import Retry
from worker.operate.telemetry import logger


class Patience(msgspec.Struct, frozen=True):
    """After how many failures a target is left alone, for how long at first and at most, and the wait for a place."""

    failures: int = 5
    pause_min_s: float = 5.0
    pause_max_s: float = 300.0
    turn_s: float = 1.0


PATIENCE: Final = Patience()
TOOK_AT_FIRST_S: Final = 1.0
SMOOTHING: Final = 0.2


class Gate:
    """Lets posts through to one target, `at_once` at a time."""

    def __init__(
        self,
        target: str,
        at_once: int,
        *,
        patience: Patience = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = logger().bind(target=target)
        self._at_once = at_once
        self._patience = patience
        self._clock = clock
        self._turns = asyncio.Semaphore(at_once)
        self._inside = 0
        self._moved_at = 0.0
        self._failures = 0
        self._pause_s = patience.pause_min_s
        self._closed_until = 0.0
        self._why = ""
        self._took_s = TOOK_AT_FIRST_S
        self._line_ends_at = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Post within it. Raises `Retry` for whoever is turned away."""
        self._look()
        await self._enter()
        try:
            self._look()  # it may have been closed meanwhile
            with self._timed():
                yield
        finally:
            self._turns.release()

    def failed(self, why: str) -> None:
        """It did not answer; after some times in a row it is left alone, each time for longer."""
        self._failures += 1
        if self._failures < self._patience.failures or self._clock() < self._closed_until:
            return
        if self._failures == self._patience.failures:
            self._log.warning("forward.paused", reason=why)
        self.rest(self._pause_s, why)
        self._pause_s = min(self._pause_s * 2, self._patience.pause_max_s)

    def answered(self) -> None:
        """It answered, whatever it said."""
        if self._failures >= self._patience.failures:
            self._log.info("forward.resumed")
        self._failures, self._pause_s = 0, self._patience.pause_min_s

    def rest(self, wait_s: float, why: str) -> None:
        """Leave it alone so long, as when it asks for it."""
        self._closed_until, self._why = max(self._closed_until, self._clock() + wait_s), why

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = self._moved_at = self._clock()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._moved_at = self._clock()
            self._took_s += SMOOTHING * (self._moved_at - began - self._took_s)

    def _look(self) -> None:
        """Turn away who comes while it is left alone; after a pause one alone may try."""
        left_s = self._closed_until - self._clock()
        if left_s > 0:
            raise Retry(f"is left alone for {left_s:.0f} s: it {self._why}", after=left_s)
        if self._failures >= self._patience.failures and self._inside:
            raise Retry(f"is being tried by another call: it {self._why}", after=self._pause_s)

    async def _enter(self) -> None:
        """Take a place; where none comes free any more, nobody waits for one."""
        try:
            async with asyncio.timeout(self._moved_at + self._patience.turn_s - self._clock()):
                await self._turns.acquire()
        except TimeoutError:
            raise Retry(f"has {self._at_once} calls to answer", after=self._place_in_line()) from None

    def _place_in_line(self) -> float:
        """The seconds until those turned away before will have been answered: else all would come again at once."""
        now = self._clock()
        self._line_ends_at = max(now, self._line_ends_at) + self._took_s / self._at_once
        return self._line_ends_at - now
