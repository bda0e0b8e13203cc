"""Archived calls, whole, in the order of their ends."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from consumers.enriched import EnrichedCall, decode_call
from consumers.postcall import CallRow, WantedCalls, body_of
from worker.cli.output import say
from worker.clients.archive.archive import Archive


async def archived_calls(archive: Archive, since: float, until: float) -> AsyncGenerator[EnrichedCall, None]:
    """The calls that ended between two instants; of one that is damaged a line is said. Raises `DatabaseAway`."""
    async with aclosing(archive.calls(WantedCalls(since=since, until=until))) as rows:
        async for row in rows:
            if (call := _call(row)) is not None:
                yield call


def _call(row: CallRow) -> EnrichedCall | None:
    try:
        return decode_call(body_of(row))
    except ValueError as error:
        say(f"Call {row.call_id} is left out: {error}")
        return None
