"""A store as the roles use it: its SQL runs in one thread beside the event loop, and answers in time or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from consumers.outcomes import DatabaseAway
from worker.operate.threads import Threads
from worker.settings import SettingsError

ANSWER_S: Final = 20.0
"""Longer than the database itself may take for an answer, shorter than a delivery is held."""
CLOSE_S: Final = 3.0


class Closes(Protocol):
    """A store; made at the first question, in the thread in which it stays."""

    def close(self) -> None:
        """Let go of the database."""


S = TypeVar("S", bound=Closes)
T = TypeVar("T")


class Asking(Generic[S]):
    """Puts questions to a store. `named` is what it is called in errors, with the setting that names its database."""

    def __init__(self, make: Callable[[], S], *, named: str, key: str, answer_s: float = ANSWER_S) -> None:
        self._make = make
        self._store: S | None = None  # of the thread
        self._thread = Threads(named)
        self._answer_s = answer_s
        self._named, self._key = named, key

    async def ask(self, question: Callable[[S], T]) -> T:
        """Put a question to the store. Raises `DatabaseAway`, and `SettingsError` for what no waiting mends."""
        return await self.answered(self._run(question))

    async def read(self, question: Callable[[S], T]) -> T:
        """The same once it was well at the start: whatever is wrong now raises `DatabaseAway`."""
        return await self.answered(self.run(question))

    async def run(self, question: Callable[[S], T]) -> T:
        """The same, however long it takes."""
        try:
            return await self._run(question)
        except SettingsError as error:
            raise DatabaseAway(str(error)) from error

    async def answered(self, answer: Awaitable[T], within_s: float | None = None) -> T:
        """Wait for an answer, `within_s` seconds or as long as one may take. Raises `DatabaseAway`."""
        limit_s = within_s or self._answer_s
        try:
            async with asyncio.timeout(limit_s):
                return await answer
        except TimeoutError as error:
            told = f"the {self._named}'s database does not answer within {limit_s:g} s: check it, and {self._key}"
            raise DatabaseAway(told) from error

    async def close(self) -> None:
        """Let go of the database, if that is possible soon."""
        with suppress(DatabaseAway, SettingsError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._run(lambda store: store.close())
        self._thread.stop()

    async def _run(self, question: Callable[[S], T]) -> T:
        return await self._thread.run(partial(self._put, question))

    def _put(self, question: Callable[[S], T]) -> T:
        if self._store is None:
            self._store = self._make()
        return question(self._store)
