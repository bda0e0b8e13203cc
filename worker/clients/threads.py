"""Threads of our own for code that waits: the event loop goes on, and what hangs holds up nobody's end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
Work = tuple[Callable[[], Any], "Future[Any]"]


class AllHang(Exception):
    """Every thread is with a function that nobody waits for any more."""


class Threads:
    """Runs functions; those of a single thread one after the other, in order.

    Not an executor of the standard library: its threads are waited for at exit, and one that hangs would hang us.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._count = count
        self._abandoned: set[Future[Any]] = set()
        self._all_hang = asyncio.Event()
        for number in range(count):
            Thread(target=self._run, name=f"{name} {number}", daemon=True).start()

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` in one of them, and return or raise as it does.

        Cancelled, it is not begun if it was not yet; what has begun goes on, for a thread cannot be stopped.
        """
        done: Future[T] = Future()
        self._work.put((function, done))
        try:
            return await asyncio.shield(asyncio.wrap_future(done))
        except asyncio.CancelledError:
            if not done.cancel():
                self._abandon(done)
            raise

    async def watch(self) -> None:
        """Wait for the day on which none is left to run anything. Raises `AllHang`."""
        await self._all_hang.wait()
        raise AllHang(f"all {self._count} threads hang: a function that waits is to have a timeout")

    def stop(self) -> None:
        """End the threads after what they were given."""
        for _ in range(self._count):
            self._work.put(None)

    def _abandon(self, done: "Future[Any]") -> None:
        self._abandoned = {each for each in (*self._abandoned, done) if not each.done()}
        if len(self._abandoned) >= self._count:
            self._all_hang.set()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            function, done = work
            if done.set_running_or_notify_cancel():
                _finish(function, done)


def _finish(function: Callable[[], T], done: "Future[T]") -> None:
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
        done.set_exception(error)
    else:
        done.set_result(result)
