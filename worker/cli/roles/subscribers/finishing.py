"""Finishing: what a subscriber has begun goes on when its delivery is cut off, and is noted as done once it is.

A delivery is cut off by the end of its connection or of its time. The broker hands it out again, and the lease has that
one wait meanwhile: it is a duplicate then, and the effect is made once.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from consumers.inbox import LEASE_S

T = TypeVar("T")

FINISH_S: Final = LEASE_S - 5
"""What takes longer is cancelled: nobody else may begin the same before it ended."""
CANCEL_S: Final = 1.0
"""How long something may take to end that is cancelled."""


class AllHang(Exception):
    """As much as may be in hand does not let itself be cancelled."""


class Finishing:
    """Finishes work, of which `most` is in hand at a time."""

    def __init__(self, most: int, *, finish_s: float = FINISH_S, cancel_s: float = CANCEL_S) -> None:
        self._most = most
        self._finish_s = finish_s
        self._cancel_s = cancel_s
        self._cut_off: set[asyncio.Task[Any]] = set()
        self._all_hang = asyncio.Event()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, and return or raise as it does. Cancelled, it goes on by itself, until its time is over."""
        until = asyncio.get_running_loop().time() + self._finish_s
        task = asyncio.create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._go_on(task, until)
            raise

    async def watch(self) -> None:
        """Wait for the day on which nothing can be begun any more. Raises `AllHang`."""
        await self._all_hang.wait()
        told = f"{self._most} handlers hang, and cannot be cancelled: what waits is to have a timeout"
        raise AllHang(told)

    async def stop(self) -> None:
        """Cancel what still goes on; what does not end is not waited for."""
        for task in self._cut_off:
            task.cancel()
        if self._cut_off:
            await asyncio.wait(self._cut_off, timeout=self._cancel_s)

    def _go_on(self, task: asyncio.Task[Any], until: float) -> None:
        self._cut_off.add(task)
        task.add_done_callback(self._ended)
        asyncio.get_running_loop().call_at(until, self._cancel, task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._cut_off.discard(task)
        if not task.cancelled():
            task.exception()  # which nobody waits for: the delivery comes again, and is told then

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        asyncio.get_running_loop().call_later(self._cancel_s, self._count)

    def _count(self) -> None:
        if sum(task.cancelling() > 0 for task in self._cut_off) >= self._most:
            self._all_hang.set()
