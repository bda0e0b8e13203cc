"""Group commit: what waits to be written goes into one transaction, so that a disk's slowness is paid once for many."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Write = Callable[[list[T]], Awaitable[Sequence[R | Exception]]]
"""Write some at once: what became of each, an exception for one that could not be. What it raises is for them all."""

TOGETHER_MAX = 1000


class Together(Generic[T, R]):
    """Takes single things to write, and has all that wait meanwhile written at once, in the order of their coming."""

    def __init__(self, write: Write[T, R], *, together_max: int = TOGETHER_MAX) -> None:
        self._write = write
        self._together_max = together_max
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, thing: T) -> R:
        """Write a thing; return or raise what became of it. Cancelled, it is left out if it still waits."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((thing, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting(), name="writing together")
        return await done

    async def settled(self) -> None:
        """Wait until nothing waits."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_waiting(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting[: self._together_max], self._waiting[self._together_max :]
            wanted = [(thing, done) for thing, done in together if not done.done()]
            for (_, done), outcome in zip(wanted, await self._outcomes(wanted), strict=True):
                _settle(done, outcome)

    async def _outcomes(self, wanted: Sequence[tuple[T, "asyncio.Future[R]"]]) -> Sequence[R | Exception]:
        try:
            return await self._write([thing for thing, _ in wanted]) if wanted else []
        except Exception as error:  # noqa: BLE001  # raised where each of them is waited for
            return [error] * len(wanted)


def _settle(done: "asyncio.Future[R]", outcome: R | Exception) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
