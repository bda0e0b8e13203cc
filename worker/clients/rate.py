"""A rate limit that finds its own way: slower at once when told, back to its full rate step by step."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

BACK_OFF: Final = 0.5
RECOVERY: Final = 0.02
SLOWEST: Final = 0.02
"""Of the full rate: what it falls to, what a success gives back, and what is left at the least."""


class RateExceeded(Exception):
    """The wait for a turn, `wait_s` seconds, would be longer than the caller can wait."""

    def __init__(self, per_second: float, wait_s: float) -> None:
        super().__init__(f"our own rate limit, {per_second:.3g} a second now, leaves no turn for {wait_s:.0f} s")
        self.wait_s = wait_s


class Rate:
    """Turns at `per_second`, evenly spaced.

    A 429 halves the rate and holds everyone until its `Retry-After` is over; each success gives a little back.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._full = per_second
        self._now = per_second
        self._clock = clock
        self._sleep = sleep
        self._next_at = 0.0
        self._held_until = 0.0

    async def turn(self, wait_max_s: float) -> None:
        """Wait for a turn. Raises `RateExceeded` at once if that would take longer than `wait_max_s`."""
        give_up_at = self._clock() + wait_max_s
        at = await self._own_turn(give_up_at)
        while at < self._held_until:  # told to hold while this one slept
            at = await self._own_turn(give_up_at)

    async def _own_turn(self, give_up_at: float) -> float:
        now = self._clock()
        at = max(now, self._next_at)
        if at > give_up_at:
            raise RateExceeded(self._now, at - now)
        self._next_at = at + 1 / self._now
        if at > now:
            await self._sleep(at - now)
        return at

    def slow_down(self, retry_after_s: float | None) -> None:
        """Heed a 429."""
        self._now = max(self._now * BACK_OFF, self._full * SLOWEST)
        self._held_until = max(self._held_until, self._clock() + (retry_after_s or 0))
        self._next_at = max(self._next_at, self._held_until)

    def speed_up(self) -> None:
        """Heed a success."""
        self._now = min(self._now + self._full * RECOVERY, self._full)
