"""Threads of our own for code that waits: the event loop goes on, and what hangs holds up nobody's end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
Work = tuple[Callable[[], Any], "Future[Any]"]


class Threads:
    """Runs functions; those of a single thread one after the other, in order.

    Not an executor of the standard library: its threads are waited for at exit, and one that hangs would hang us.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            Thread(target=self._run, name=f"{name} {number}", daemon=True).start()

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` in one of them, and return or raise as it does.

        Cancelled, it is not begun if it was not yet; what has begun goes on, for a thread cannot be stopped.
        """
        done = self._given(function)
        try:
            return await asyncio.shield(asyncio.wrap_future(done))
        except asyncio.CancelledError:
            done.cancel()
            raise

    async def outlast(self, function: Callable[[], T]) -> T:
        """The same, but what has begun is waited for to its end, however often this is cancelled."""
        done = self._given(function)
        while True:
            try:
                return await asyncio.shield(asyncio.wrap_future(done))
            except asyncio.CancelledError:
                if done.cancel() or (done.done() and done.exception() is not None):
                    raise

    def stop(self) -> None:
        """End the threads after what they were given."""
        for _ in range(self._count):
            self._work.put(None)

    def _given(self, function: Callable[[], T]) -> "Future[T]":
        done: Future[T] = Future()
        self._work.put((function, done))
        return done

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
