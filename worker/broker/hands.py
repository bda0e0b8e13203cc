"""The deliveries in hand: those at work, and those that wait for room.

The broker hands out by number, and a call may be of 2 KB or of 2 MB. So work begins on as many as are of so many bytes
together, as they are once unpacked; the others stay packed, as they came.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from consumers.messages import unpacked_bytes
from worker.broker.wire import Taken

T = TypeVar("T")
MAX_BYTES: Final = 2**25


class Hands(Generic[T]):
    """Works on deliveries, at least on one, and on no more than are of `max_bytes` together."""

    def __init__(self, work: Callable[[Taken], Coroutine[Any, Any, T]], name: str, max_bytes: int) -> None:
        self._work = work
        self._name = name
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: deque[tuple[Taken, int]] = deque()
        self._at_work: set[asyncio.Task[T]] = set()

    def take(self, incoming: Taken) -> None:
        """Take a delivery in hand."""
        self._waiting.append((incoming, _size_of(incoming)))
        self._begin()

    def work(self, incoming: Taken, size: int = 0) -> "asyncio.Task[T]":
        """Work on a delivery at once."""
        task = asyncio.create_task(self._work(incoming), name=self._name)
        self._at_work.add(task)
        self._bytes += size
        task.add_done_callback(lambda task: self._end(task, size))
        return task

    def _begin(self) -> None:
        while self._waiting and (not self._at_work or self._bytes + self._waiting[0][1] <= self._max_bytes):
            self.work(*self._waiting.popleft())

    def _end(self, task: "asyncio.Task[T]", size: int) -> None:
        self._at_work.discard(task)
        self._bytes -= size
        self._begin()

    async def finish(self, within_s: float) -> None:
        """Begin nothing more, and wait so long for what is at work: the rest is the broker's again."""
        self._waiting.clear()
        if self._at_work:
            await asyncio.wait(self._at_work, timeout=within_s)

    async def abandon(self) -> None:
        """Let go of everything: unsettled, it goes back to its queue with the channel."""
        self._waiting.clear()
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)


def _size_of(incoming: Taken) -> int:
    return unpacked_bytes(incoming.body, incoming.content_encoding)
