"""The doctor's rounds of the databases: whether ledger and archive can be reached, and have a schema of ours."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from consumers.outcomes import DatabaseAway
from worker.clients.archive.archive import Archive
from worker.clients.ledger.ledger import Ledger
from worker.operate.doctor import Finding, of_database
from worker.settings import Settings, SettingsError

ANSWER_S: Final = 10.0


async def database_rounds(settings: Settings) -> list[Finding]:
    """Look at ledger and archive, at once, and leave them as they are."""
    in_ledger, in_archive = await asyncio.gather(_ledger_round(settings), _archive_round(settings))
    return [*in_ledger, *in_archive]


async def _ledger_round(settings: Settings) -> list[Finding]:
    if not settings.keeps_ledger:
        told = "none is kept: no sweep, and no story of a call"
        return [Finding("ledger", "warn", told, "add `ledger` to AFTERCALL_SUBSCRIBERS")]
    ledger = Ledger(settings.ledger_url, waiting_s=0, answer_s=ANSWER_S)
    try:
        return [await _judged("ledger", ledger.ask(lambda store: store.schema()), role="ledger")]
    finally:
        await ledger.close()


async def _archive_round(settings: Settings) -> list[Finding]:
    """Nothing where no call is to be kept and no database was named."""
    is_wanted = "postcall" in settings.subscribers
    if not is_wanted and "archive_url" not in settings.given:
        return []
    archive = Archive(settings.archive_url, answer_s=ANSWER_S)
    try:
        return [await _judged("archive", archive.schema(), role="postcall", is_wanted=is_wanted)]
    finally:
        await archive.close()


async def _judged(name: str, schema: Awaitable[tuple[int, int]], *, role: str, is_wanted: bool = True) -> Finding:
    try:
        found, latest = await schema
    except (DatabaseAway, SettingsError) as error:
        return Finding(name, "fail", str(error), f"check AFTERCALL_{name.upper()}_URL, and the database it names")
    return of_database(name, found, latest, role=role, is_wanted=is_wanted)
