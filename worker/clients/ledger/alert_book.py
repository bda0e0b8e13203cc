"""The alerts' part of the ledger's database, as the roles use it: beside the ledger, in a thread of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from consumers.alerts.groups import State
from consumers.alerts.rounds import Key, Watch
from consumers.alerts.rules import Rule
from consumers.alerts.sightings import Sighting
from consumers.alerts.texts import Example
from consumers.alerts.windows import Hearing
from consumers.outcomes import DatabaseAway
from worker.clients.sql.asking import ANSWER_S, CLOSE_S, Asking
from worker.clients.sql.together import Together
from worker.settings import Secret, Settings

if TYPE_CHECKING:
    from worker.clients.ledger.alerts import AlertStore, Round

Seen = tuple[Sequence[Sighting], float]


@asynccontextmanager
async def open_alert_book(settings: Settings) -> AsyncIterator["AlertBook"]:
    """The alerts' tables, brought up to date; if the database does not answer they are given out all the same.

    Raises `SettingsError` for what no waiting mends, as the ledger does.
    """
    book = AlertBook(settings.ledger_url)
    try:
        with suppress(DatabaseAway):
            await book.ask(lambda store: store.open())
        yield book
    finally:
        await book.close()


class AlertBook:
    """What the rules have seen, and what was told of it. Each method raises `DatabaseAway` if it could not be done."""

    def __init__(self, url: Secret, *, answer_s: float = ANSWER_S) -> None:
        def make() -> "AlertStore":
            from worker.clients.ledger.alerts import AlertStore  # noqa: PLC0415  # it loads SQLAlchemy

            return AlertStore(url.reveal)

        self._asking = Asking(make, named="alerts", key="AFTERCALL_LEDGER_URL", answer_s=answer_s)
        self.ask, self._read = self._asking.ask, self._asking.read
        run = self._asking.run
        self._recording = Together[Seen, None](lambda seen: run(lambda store: store.record(seen)))

    async def record(self, sightings: Sequence[Sighting], now: float) -> None:
        """Write what a call is to the rules, and return once it is on disk; all that wait go into one transaction."""
        await self._asking.answered(self._recording.add((sightings, now)))

    async def look(self, watch: Watch, holder: str, hearing: Hearing, now: float) -> "Round | None":
        """Take in what is new: the states after it, or None if another process is to tell."""
        return await self._read(lambda store: store.look(watch, holder, hearing, now))

    async def told(self, holder: str, key: Key, state: State) -> None:
        """Something was told: this is the state after it."""
        await self._read(lambda store: store.told(holder, key, state))

    async def examples(self, rule: Rule, account: str, *, matched: bool, since: float, count: int) -> list[Example]:
        """The latest calls of a rule since an instant, so many at most."""
        return await self._read(lambda store: store.examples(rule, account, matched=matched, since=since, count=count))

    async def release(self, holder: str) -> None:
        """Let another process tell."""
        await self._read(lambda store: store.release(holder))

    async def prune(self, before: float) -> int:
        """Forget a bounded number of the calls heard of before an instant; how many, 0 when none is left."""
        return await self._read(lambda store: store.prune(before))

    async def reach(self) -> None:
        """Return if the database can be written; its schema is up to date then."""
        await self._read(lambda store: store.open())

    async def close(self) -> None:
        """Write what waits, as far as that is possible soon, and let go of the database."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._recording.settled()
        await self._asking.close()
