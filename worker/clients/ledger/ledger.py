"""The ledger, as the roles use it: SQL in one thread beside the event loop, many events to a transaction."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from consumers.ledger import Event, LedgerAway
from worker.clients.ledger.thread import OneThread
from worker.settings import Secret, Settings, SettingsError

if TYPE_CHECKING:
    from worker.clients.ledger.store import Store

T = TypeVar("T")
ANSWER_S: Final = 20.0
"""Longer than the database itself may take for an answer, shorter than a delivery is held."""
CLOSE_S: Final = 3.0
TOGETHER_MAX: Final = 1000


class SchemaState(msgspec.Struct, frozen=True):
    """The version of the database's schema (0: none yet), and the one that this program works with."""

    found: int
    wanted: int


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator["Ledger"]:
    """The ledger of an installation, its schema brought up to date; one that does not answer is given out all the same.

    Raises `SettingsError` for what no waiting mends: a URL that is none, no driver, a file that nobody may write, a
    schema newer than this program.
    """
    ledger = Ledger(settings.ledger_url, waiting_s=settings.emit_after_s + settings.sweep_grace_s)
    try:
        with suppress(LedgerAway):
            await ledger.ask(lambda store: store.open())
        yield ledger
    finally:
        await ledger.close()


class Ledger:
    """Every event of every call, and how far the sweep has come.

    Each method raises `LedgerAway`, with what to do in its text, if it could not be done. `waiting_s` (seconds) is how
    long a call that is on its way counts as accounted for. SQLAlchemy is loaded at the first use.
    """

    def __init__(self, url: Secret, *, waiting_s: float, answer_s: float = ANSWER_S) -> None:
        self._url = url
        self._waiting_s = waiting_s
        self._answer_s = answer_s
        self._thread = OneThread("ledger")
        self._store: Store | None = None  # of the thread
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, event: Event) -> None:
        """Write an event, and return once it is on disk; one of the same id and kind is left as it is.

        All that wait go into one transaction. What the database says of this event alone is raised as it is.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting(), name="ledger writing")
        await self._answered(done)

    async def accounted(self, account: str, call_ids: Collection[str], now: float) -> set[str]:
        """Those of the calls that are accounted for: enriched, dead or discarded, or on their way not too long."""
        since = now - self._waiting_s
        return await self._read(lambda store: store.accounted(account, list(call_ids), since))

    async def story(self, call_id: str) -> list[Event]:
        """All that happened to a call, in whichever account, in the order of time."""
        return await self._read(lambda store: store.story(call_id))

    async def wrote(self, event_id: str) -> bool:
        """Whether an event of that id is written."""
        return await self._read(lambda store: store.wrote(event_id))

    async def counts(self, since: float = 0.0) -> Mapping[tuple[str, str], int]:
        """How many events there are of each account and kind since an instant."""
        return await self._read(lambda store: store.counts(since))

    async def watermark(self, account: str) -> float | None:
        """How far the sweep has come (epoch seconds), None if it never ran."""
        return await self._read(lambda store: store.watermark(account))

    async def set_watermark(self, account: str, at: float) -> None:
        """The sweep has come so far; it never goes back, whoever says so."""
        await self._read(lambda store: store.set_watermark(account, at))

    async def prune(self, before: float) -> int:
        """Delete a bounded number of the events before an instant; how many they were, 0 when none is left."""
        return await self._read(lambda store: store.prune(before))

    async def check(self) -> SchemaState:
        """Look whether the database answers, and which schema it has; changes nothing."""
        return SchemaState(*await self._read(lambda store: store.schema()))

    async def reach(self) -> None:
        """Return if the database can be written; its schema is up to date then."""
        await self._read(lambda store: store.open())

    async def close(self) -> None:
        """Write what waits, as far as that is possible soon, and let go of the database."""
        with suppress(LedgerAway, SettingsError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if self._writing is not None:
                    await asyncio.wait([self._writing])
                await self.ask(lambda store: store.close())
        self._thread.stop()

    async def ask(self, question: Callable[["Store"], T]) -> T:
        """Put a question to the store in its thread. Raises `SettingsError` besides."""
        return await self._answered(self._thread.run(partial(self._put, question)))

    async def _read(self, question: Callable[["Store"], T]) -> T:
        try:
            return await self.ask(question)
        except SettingsError as error:  # it was well when we started
            raise LedgerAway(str(error)) from error

    def _put(self, question: Callable[["Store"], T]) -> T:
        if self._store is None:
            from worker.clients.ledger.store import Store  # noqa: PLC0415  # a role without a ledger loads no SQLAlchemy

            self._store = Store(self._url.reveal)
        return question(self._store)

    async def _answered(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._answer_s):
                return await answer
        except TimeoutError as error:
            told = (
                f"the ledger's database does not answer within {self._answer_s:g} s: check it, and AFTERCALL_LEDGER_URL"
            )
            raise LedgerAway(told) from error

    async def _write_waiting(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
            await self._write([(event, done) for event, done in together if not done.done()])

    async def _write(self, together: list[tuple[Event, "asyncio.Future[None]"]]) -> None:
        events = [event for event, _ in together]
        if not events:
            return
        outcomes: list[Exception | None]
        try:
            outcomes = await self._thread.run(partial(self._put, lambda store: store.record(events)))
        except SettingsError as error:
            outcomes = [LedgerAway(str(error))] * len(events)
        except Exception as error:  # noqa: BLE001  # raised where each of them is waited for
            outcomes = [error] * len(events)
        for (_, done), outcome in zip(together, outcomes, strict=True):
            if not done.done():
                _settle(done, outcome)


def _settle(done: "asyncio.Future[None]", outcome: Exception | None) -> None:
    if outcome is None:
        done.set_result(None)
    else:
        done.set_exception(outcome)
