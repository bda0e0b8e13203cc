"""The ledger, as the roles use it: what happened to each call, and what each subscriber has done."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import msgspec

from consumers.inbox import Arrival, Claim, Ended
from consumers.ledger import Event, Standing, standings
from consumers.outcomes import DatabaseAway
from worker.clients.sql.asking import ANSWER_S, CLOSE_S, Asking
from worker.clients.sql.together import Together
from worker.settings import Secret, Settings

if TYPE_CHECKING:
    from worker.clients.ledger.store import Store

INBOX_S: Final = 5.0
"""Twice this, before and after an effect, leaves it most of the time that a delivery has."""


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
        with suppress(DatabaseAway):
            await ledger.ask(lambda store: store.open())
        yield ledger
    finally:
        await ledger.close()


class Ledger:
    """Every event of every call, and how far the sweep has come.

    Each method raises `DatabaseAway`, with what to do in its text, if it could not be done. `waiting_s` (seconds) is
    how long a call that is on its way counts as accounted for. SQLAlchemy is loaded at the first use.
    """

    def __init__(self, url: Secret, *, waiting_s: float, answer_s: float = ANSWER_S, inbox_s: float = INBOX_S) -> None:
        def make() -> "Store":
            from worker.clients.ledger.store import Store  # noqa: PLC0415  # who needs no ledger loads no SQLAlchemy

            return Store(url.reveal)

        self._asking = Asking(make, named="ledger", key="AFTERCALL_LEDGER_URL", answer_s=answer_s)
        self.ask, self._read = self._asking.ask, self._asking.read
        self._waiting_s = waiting_s
        self._inbox_s = inbox_s
        run = self._asking.run
        self._recording = Together[Event, None](lambda events: run(lambda store: store.record(events)))
        self._claiming = Together[tuple[Arrival, float], Claim](lambda some: run(lambda store: store.claim(some)))
        self._ending = Together[Ended, None](lambda some: run(lambda store: store.end(some)))

    async def record(self, event: Event) -> None:
        """Write an event, and return once it is on disk; one of the same id and kind is left as it is.

        All that wait go into one transaction. What the database says of this event alone is raised as it is.
        """
        await self._asking.answered(self._recording.add(event))

    async def claim(self, event: Arrival, now: float) -> Claim:
        """Lease the call of an event for its subscriber, if the event is to be acted upon."""
        return await self._asking.answered(self._claiming.add((event, now)), self._inbox_s)

    async def done(self, event: Arrival, memo: str) -> None:
        """The event was acted upon; `memo` is what the next one of the call is to know."""
        await self._asking.answered(self._ending.add(Ended(event, memo)), self._inbox_s)

    async def release(self, event: Arrival) -> None:
        """It was not: another may try."""
        await self._asking.answered(self._ending.add(Ended(event, None)), self._inbox_s)

    async def standings(self, account: str, call_ids: Collection[str], now: float) -> Mapping[str, Standing]:
        """Those of the calls that are accounted for, and how: settled, or on their way and not for too long."""
        latest = await self._read(lambda store: store.latest(account, list(call_ids)))
        return standings(latest, now=now, waiting_s=self._waiting_s)

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
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for waiting in (self._recording, self._claiming, self._ending):
                    await waiting.settled()
        await self._asking.close()
