"""The sweep: list what ended at Vapi, and send in at the front what nobody has told us of.

A call counts as known when the ledger says so, and the ledger is believed only once it has written the sweep's own
note: what was enriched before that note is then in it.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from consumers.ledger import Standing
from consumers.messages import Message, pack
from consumers.notifications import write_notification
from consumers.settling import note
from consumers.slices import MOST, Slice
from consumers.sweep import ListedCall, ended_calls, judge, report_of, watermark_at
from worker.ingress.listing import ListCalls, slices
from worker.operate.telemetry import CALLS_UNACCOUNTED, SWEEP_CALLS, at_zero, logger, new_traceparent

FIRST_LOOK_S: Final = 86400.0
OVERLAP_S: Final = 900.0
"""How far each sweep looks back behind the last: Vapi's own clock and writes may be late."""
BACKLOG_MAX: Final = 1000
"""Notifications waiting to be enriched, above which the sweep sends nothing more in: it will find it again."""

LOOK_EVERY_S: Final = 0.2
VERDICTS: Final = ("unfinished", "known", "swept", "behind")

Publish = Callable[[Message], Awaitable[None]]


class Books(Protocol):
    """What the sweep asks the ledger."""

    async def standings(self, account: str, call_ids: list[str], now: float) -> Mapping[str, Standing]:
        """Those of the calls that are accounted for, and how."""

    async def watermark(self, account: str) -> float | None:
        """Up to which `updatedAt` (epoch seconds) every call was settled, if a sweep ever ended."""

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
    """What a sweep found: verdicts counted, and the first `updatedAt` of a call that is not settled."""

    verdicts: Counter[str]
    unsettled_since: float

    @property
    def unaccounted(self) -> int:
        """The calls that Vapi lists and the ledger does not account for."""
        return self.verdicts["swept"] + self.verdicts["behind"]


async def sweep(sweeping: Sweeping) -> Found | None:
    """Sweep one account once; None if the ledger was too far behind to be asked.

    Raises what listing or publishing raises; what was swept till then is known, and the next sweep goes on from there.
    """
    began, now = time.perf_counter(), sweeping.clock()
    at_zero(SWEEP_CALLS, (sweeping.account,), VERDICTS)
    if not await _ledger_is_current(sweeping, now):
        forget_gauge(sweeping.account)
        logger().warning("sweep.finished", account=sweeping.account, detail="the ledger is behind: nothing was judged")
        return None
    whole = Slice(round(await _begin(sweeping, now), 3), round(now - sweeping.grace_s, 3))
    found = Found(Counter(), whole.until)
    async for part, listed in slices(sweeping.list_calls, whole):
        await _judge(sweeping, listed, found, now)
        if len(listed) >= MOST:
            found.unsettled_since = min(found.unsettled_since, part.since)
            logger().warning("sweep.cut_short", account=sweeping.account, detail=f"{MOST} calls or more in 1 ms")
        await sweeping.books.set_watermark(sweeping.account, watermark_at(part.until, found.unsettled_since, now))
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


async def _judge(sweeping: Sweeping, listed: list[msgspec.Raw], found: Found, now: float) -> None:
    ended = list(ended_calls(listed, before=now - sweeping.grace_s))
    standings = await sweeping.books.standings(sweeping.account, [call.id for call in ended], now) if ended else {}
    judgement = judge(ended, standings)
    missing = judgement.missing
    found.unsettled_since = min(found.unsettled_since, judgement.unsettled_since)
    is_behind = bool(missing) and await sweeping.backlog() > BACKLOG_MAX
    found.verdicts.update(unfinished=len(listed) - len(ended), known=len(ended) - len(missing))
    found.verdicts["behind" if is_behind else "swept"] += len(missing)
    for call in [] if is_behind else missing:
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
