"""The sweep: list what ended at Vapi, and send in at the front what nobody has told us of.

Vapi lists calls newest first, without pages: a slice of `updatedAt` that comes back full is halved until it does not.
A call counts as known when the ledger says so, and the ledger is believed only once it has written the sweep's own
note: what was enriched before that note is then in it.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import msgspec

from consumers.messages import Message, pack
from consumers.notifications import write_notification
from consumers.settling import note
from consumers.sweep import ListedCall, Slice, ended_calls, report_of
from worker.operate.telemetry import CALLS_UNACCOUNTED, SWEEP_CALLS, logger, new_traceparent

LIMIT: Final = 100
MOST: Final = 1000
"""What Vapi lists at once at the most; asked for only where a slice cannot be halved, for calls are heavy."""
LONGEST_SLICE_S: Final = 3600.0
FIRST_LOOK_S: Final = 86400.0
OVERLAP_S: Final = 900.0
"""How far each sweep looks back behind the last: Vapi's own clock and writes may be late."""
BACKLOG_MAX: Final = 1000
"""Notifications waiting to be enriched, above which the sweep sends nothing more in: it will find it again."""

LOOK_EVERY_S: Final = 0.2

ListCalls = Callable[[Slice, int], Awaitable[list[Any]]]
Publish = Callable[[Message], Awaitable[None]]


class Books(Protocol):
    """What the sweep asks the ledger."""

    async def accounted(self, account: str, call_ids: list[str], now: float) -> set[str]:
        """Those of the calls that are accounted for."""

    async def watermark(self, account: str) -> float | None:
        """Up to which `updatedAt` (epoch seconds) every call was accounted for, if a sweep ever ended."""

    async def set_watermark(self, account: str, at: float) -> None:
        """Remember it."""

    async def wrote(self, event_id: str) -> bool:
        """Whether an event is in the ledger."""


class Sweeping(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep of one account needs. Times are seconds; `backlog` tells how many notifications wait."""

    account: str
    list_calls: ListCalls
    books: Books
    publish: Publish
    backlog: Callable[[], Awaitable[int]]
    grace_s: float
    since_s: float | None = None
    ledger_wait_s: float = 30.0
    clock: Callable[[], float] = time.time


class Found(msgspec.Struct):
    """What a sweep found: verdicts counted, and the earliest call that is not accounted for."""

    verdicts: Counter[str]
    earliest: float

    @property
    def unaccounted(self) -> int:
        """The calls that Vapi lists and the ledger does not account for."""
        return self.verdicts["swept"] + self.verdicts["behind"]


async def sweep(sweeping: Sweeping) -> Found | None:
    """Sweep one account once; None if the ledger was too far behind to be asked.

    Raises what listing or publishing raises; what was swept till then is known, and the next sweep goes on from there.
    """
    began, now = time.perf_counter(), sweeping.clock()
    if not await _ledger_is_current(sweeping, now):
        forget_gauge(sweeping.account)
        logger().warning("sweep.finished", account=sweeping.account, detail="the ledger is behind: nothing was judged")
        return None
    whole = Slice(round(await _begin(sweeping, now), 3), round(now - sweeping.grace_s, 3))
    found = Found(Counter(), whole.until)
    async for part, listed in _slices(sweeping.list_calls, whole):
        await _judge(sweeping, listed, found, now)
        if len(listed) >= MOST:
            found.earliest = min(found.earliest, part.since)
            logger().warning("sweep.cut_short", account=sweeping.account, detail=f"{MOST} calls or more in 1 ms")
        await sweeping.books.set_watermark(sweeping.account, min(part.until, found.earliest))
    _tell(sweeping.account, found, time.perf_counter() - began)
    return found


def forget_gauge(account: str) -> None:
    """Take back the account's number of unaccounted calls: nobody knows it now, and an old one would mislead."""
    with suppress(KeyError):  # absent already
        CALLS_UNACCOUNTED.remove(account)


async def _ledger_is_current(sweeping: Sweeping, now: float) -> bool:
    asked = note("asked", sweeping.account, "", now, {"x-aftercall-detail": uuid.uuid4().hex})
    await sweeping.publish(asked)
    give_up_at = time.monotonic() + sweeping.ledger_wait_s
    while not await sweeping.books.wrote(asked.headers["ce-id"]):
        if time.monotonic() > give_up_at:
            return False
        await asyncio.sleep(LOOK_EVERY_S)
    return True


async def _begin(sweeping: Sweeping, now: float) -> float:
    """Behind the last sweep; as far back as the operator asks, or as one who never swept looks."""
    watermark = await sweeping.books.watermark(sweeping.account)
    if watermark is None:
        return now - (sweeping.since_s or FIRST_LOOK_S)
    return min(watermark - OVERLAP_S, now - sweeping.grace_s - OVERLAP_S, now - (sweeping.since_s or 0))


async def _slices(list_calls: ListCalls, whole: Slice) -> AsyncIterator[tuple[Slice, list[Any]]]:
    """The listed calls slice by slice, oldest first, none of them cut short by the limit."""
    since, length_s = whole.since, LONGEST_SLICE_S
    while since < whole.until:
        part = whole.part(since, length_s)
        listed = await list_calls(part, MOST if part.is_shortest else LIMIT)
        if len(listed) >= LIMIT and not part.is_shortest:
            length_s = part.length_s / 2
            continue
        yield part, listed
        since, length_s = part.until, min(LONGEST_SLICE_S, length_s * 2)


async def _judge(sweeping: Sweeping, listed: list[Any], found: Found, now: float) -> None:
    ended = list(ended_calls(listed, before=now - sweeping.grace_s))
    found.verdicts["unfinished"] += len(listed) - len(ended)
    known = await sweeping.books.accounted(sweeping.account, [call.id for call in ended], now) if ended else set()
    found.verdicts["known"] += len(known)
    missing = sorted((call for call in ended if call.id not in known), key=lambda call: call.ended_at)
    is_behind = bool(missing) and await sweeping.backlog() > BACKLOG_MAX
    for call in missing:
        found.earliest = min(found.earliest, call.updated_at)
        found.verdicts["behind" if is_behind else "swept"] += 1
        if not is_behind:
            await _send_in(sweeping, call)


async def _send_in(sweeping: Sweeping, call: ListedCall) -> None:
    """At the front, as the endpoint does; the note tells the ledger that it is on its way."""
    now = sweeping.clock()
    notification = write_notification(
        pack(report_of(call)),
        account=sweeping.account,
        call_id=call.id,
        source="sweep",
        received_at=now,
        traceparent=new_traceparent(),
    )
    await sweeping.publish(notification)
    await sweeping.publish(note("swept", sweeping.account, call.id, now, {}))


def _tell(account: str, found: Found, seconds: float) -> None:
    for verdict, count in found.verdicts.items():
        SWEEP_CALLS.labels(account, verdict).inc(count)
    CALLS_UNACCOUNTED.labels(account).set(found.unaccounted)
    logger().info(
        "sweep.finished",
        account=account,
        seconds=round(seconds, 3),
        unaccounted=found.unaccounted,
        **found.verdicts,
    )
