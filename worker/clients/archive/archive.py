"""The archive, as the roles and commands use it: calls kept, found and deleted."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from consumers.outcomes import DatabaseAway
from consumers.postcall import CallRow, WantedCalls
from consumers.timestamps import iso
from worker.clients.sql.asking import ANSWER_S, CLOSE_S, Asking
from worker.clients.sql.together import Together
from worker.settings import Secret, Settings

if TYPE_CHECKING:
    from worker.clients.archive.store import Store

PAGE: Final = 50
"""Rows in memory at once: a call may be as large as a megabyte."""


@asynccontextmanager
async def open_archive(settings: Settings) -> AsyncIterator["Archive"]:
    """The archive of an installation, its schema brought up to date; given out even if it does not answer yet.

    Raises `SettingsError` for what no waiting mends: a URL that is none, no driver, a file that nobody may write, a
    schema newer than this program.
    """
    archive = Archive(settings.archive_url)
    try:
        with suppress(DatabaseAway):
            await archive.ask(lambda store: store.open())
        yield archive
    finally:
        await archive.close()


class Archive:
    """Every call, whole and by what people ask for. Each method raises `DatabaseAway` if it could not be done."""

    def __init__(self, url: Secret, *, answer_s: float = ANSWER_S) -> None:
        def make() -> "Store":
            from worker.clients.archive.store import Store  # noqa: PLC0415  # who needs no archive loads no SQLAlchemy

            return Store(url.reveal)

        self._asking = Asking(make, named="archive", key="AFTERCALL_ARCHIVE_URL", answer_s=answer_s)
        self.ask, self._read = self._asking.ask, self._asking.read
        run = self._asking.run
        self._saving = Together[CallRow, None](lambda rows: run(lambda store: store.save(rows)))

    async def save(self, row: CallRow) -> None:
        """Keep a call, and return once it is on disk; one that is there in a rank as great is left as it is.

        All that wait go into one transaction. What the database says of this row alone is raised as it is.
        """
        await self._asking.answered(self._saving.add(row))

    async def calls(
        self, wanted: WantedCalls, *, newest_first: bool = False, without: Collection[str] = ()
    ) -> AsyncGenerator[CallRow, None]:
        """The wanted calls by the time of their end, a page at a time, but for the columns `without`.

        No transaction outlives a page: what is archived meanwhile may be among them.
        """
        after: CallRow | None = None
        while page := await self._page(wanted, after, newest_first=newest_first, without=without):
            for row in page:
                yield row
            after = page[-1]

    async def _page(
        self, wanted: WantedCalls, after: CallRow | None, *, newest_first: bool, without: Collection[str]
    ) -> list[CallRow]:
        return await self._read(
            lambda store: store.page(wanted, after=after, count=PAGE, newest_first=newest_first, without=without)
        )

    async def counts(self, wanted: WantedCalls) -> Mapping[tuple[str, str], int]:
        """How many of the wanted calls there are of each account and result."""
        return await self._read(lambda store: store.counts(wanted))

    async def prune(self, keep_s: Mapping[str, float], otherwise_s: float, now: float) -> int:
        """Delete a bounded number of the calls that ended longer ago than their account keeps them; how many.

        `otherwise_s` is for accounts that `keep_s` does not name; 0 is for ever.
        """
        deleted = 0
        for account, seconds in keep_s.items():
            deleted += await self._prune((account,), seconds, now)
        return deleted + await self._prune(tuple(keep_s), otherwise_s, now, others=True)

    async def _prune(self, accounts: tuple[str, ...], keep_s: float, now: float, *, others: bool = False) -> int:
        if not keep_s:
            return 0
        return await self._read(lambda store: store.prune(iso(max(0.0, now - keep_s)), accounts, others=others))

    async def schema(self) -> tuple[int, int]:
        """The version of the schema that is there (0: none yet), and the one that this program works with."""
        return await self.ask(lambda store: store.schema())

    async def reach(self) -> None:
        """Return if the database can be written; its schema is up to date then."""
        await self._read(lambda store: store.open())

    async def close(self) -> None:
        """Write what waits, as far as that is possible soon, and let go of the database."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._saving.settled()
        await self._asking.close()
