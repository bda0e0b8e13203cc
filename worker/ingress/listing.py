"""Going through Vapi's list of calls, which comes without pages: slice by slice, each asked for until it comes whole.

However many calls there are, memory holds two or three answers of Vapi's, each of 8 MiB as a rule (`PAGE_BYTES`), and
never larger than the client takes (128 MiB).
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from consumers.enrich import CallUnreadable
from consumers.slices import MOST, Pace, Slice
from consumers.sweep import read_list

ListCalls = Callable[[Slice, int], Awaitable[bytes]]
"""The body of `GET /call`: the calls updated within a slice, so many at the most. Raises as a `FetchCall` does."""


class Page(msgspec.Struct, frozen=True):
    """All the calls of a slice, and the size of the answer they came in."""

    listed: list[msgspec.Raw]
    body_bytes: int


async def slices(list_calls: ListCalls, whole: Slice) -> AsyncIterator[tuple[Slice, list[msgspec.Raw]]]:
    """The listed calls slice by slice, oldest first, none of them cut short by the limit.

    Raises as `list_calls` does, `CallUnreadable` only where no shorter slice is left.
    """
    since, pace = whole.since, Pace()
    while since < whole.until:
        part = whole.part(since, pace.length_s)
        page = await _page(list_calls, part, MOST if part.is_shortest else pace.limit)
        if page is None:
            pace = pace.halved(part)
        else:
            yield part, page.listed
            since, pace = part.until, pace.after(part, len(page.listed), page.body_bytes)


async def _page(list_calls: ListCalls, part: Slice, limit: int) -> Page | None:
    """The calls of a slice; None if they are more than the limit, or more than comes through in one answer."""
    try:
        body = await list_calls(part, limit)
        listed = read_list(body)
    except CallUnreadable:
        if part.is_shortest:
            raise
        return None
    return None if len(listed) >= limit and not part.is_shortest else Page(listed, len(body))
