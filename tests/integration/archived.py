"""Archives to test with, and calls to put into them."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from consumers.enriched import EnrichedCall
from consumers.messages import Delivery
from consumers.postcall import CallRow, WantedCalls, row_of
from tests.unit.builders import archivable, enriched_call
from worker.clients.archive.archive import Archive, open_archive
from worker.settings import load

NOW = 1_800_000_000.0


def row(**changes: Any) -> CallRow:
    """The row of a call with those changes; `call_id` stands for the id in both places."""
    call_id = changes.pop("call_id", None)
    given = {"callId": call_id, "call": {"id": call_id, **changes.pop("call", {})}} if call_id else {}
    return row_of(delivered(enriched_call(**given | changes)), NOW)


def delivered(call: EnrichedCall) -> Delivery:
    return archivable(call, NOW)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Archive]:
    async with open_archive(load({"AFTERCALL_ARCHIVE_URL": url})) as archive:
        yield archive


async def found(archive: Archive, **asked: Any) -> list[CallRow]:
    """The wanted calls, the oldest first."""
    order = {name: asked.pop(name) for name in ("newest_first", "without") if name in asked}
    async with aclosing(archive.calls(WantedCalls(**asked), **order)) as rows:
        return [each async for each in rows]
