"""A thread of its own for a library that waits: what is handed to it runs in order, and the event loop goes on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
Work = tuple[Callable[[], Any], "Future[Any]"]


class OneThread:
    """Runs functions one after the other.

    Not an executor of the standard library: its threads are waited for at exit, and one that hangs would hang us.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` there, and return or raise as it does. Cancelled, it is not begun if it was not yet."""
        done: Future[T] = Future()
        self._work.put((function, done))
        return await asyncio.wrap_future(done)

    def stop(self) -> None:
        """End the thread after what it was given."""
        self._work.put(None)

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
