"""Time limits for what happens several times a call: a timing wheel, which is one timer of the loop for all of them.

`asyncio.timeout` sets and cancels a timer each, which was a twentieth of what a call cost (docs/decisions/0024).
"""

import asyncio
import threading
from types import TracebackType
from typing import Final, Self

SLOT_S: Final = 0.1
"""Up to twice that a limit strikes later than asked."""


class within:  # noqa: N801  # it reads as `asyncio.timeout`, for which it stands
    """Cancels the task while it is in a block for longer than so many seconds: the block raises `TimeoutError`."""

    __slots__ = ("_cancelling", "_is_over", "_seconds", "_slot", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> Self:
        """Begin. Raises `RuntimeError` outside of a task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit is for a task")
        self._task, self._cancelling = task, task.cancelling()
        self._slot = _wheel().put(self, self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End; a cancellation that is nobody else's is told as `TimeoutError`."""
        self._slot.discard(self)
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """The time is over."""
        self._is_over = True
        self._task.cancel()

    def expired(self) -> bool:
        """Whether the time was over before the block was."""
        return self._is_over


class _Wheel:
    """The limits of one loop by the slot of time in which they end; it turns while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slots: dict[int, set[within]] = {}

    def put(self, limit: within, seconds: float) -> set[within]:
        """Put a limit into its slot."""
        number = int((self.loop.time() + seconds) / SLOT_S)
        slot = self._slots.get(number)
        if slot is None:
            if not self._slots:
                self.loop.call_later(SLOT_S, self._turn)
            slot = self._slots[number] = set()
        slot.add(limit)
        return slot

    def _turn(self) -> None:
        now = int(self.loop.time() / SLOT_S)
        for number in [each for each in self._slots if each < now]:
            for limit in self._slots.pop(number):
                limit.end()
        if self._slots:
            self.loop.call_later(SLOT_S, self._turn)


class _Here(threading.local):
    """The wheel of the thread's loop: a thread runs one at a time."""

    wheel: _Wheel | None = None


_here: Final = _Here()


def _wheel() -> _Wheel:
    loop = asyncio.get_running_loop()
    wheel = _here.wheel
    if wheel is None or wheel.loop is not loop:
        wheel = _here.wheel = _Wheel(loop)
    return wheel
