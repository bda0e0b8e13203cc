"""Duplicates: an effect once per event, and never an older event's after a newer one's.

For an effect outside our database: the call is leased, the effect made, the event noted as done. A crash between the
last two repeats the effect, which no bookkeeping of ours can prevent; the target's own key (an upsert by call id) can.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, Protocol

import msgspec

from consumers.enriched import EnrichedCall, encode
from consumers.messages import Delivery
from consumers.outcomes import DatabaseAway, Hold

ID: Final = re.compile(r"[\x21-\x7e]{1,512}")
LEASE_S: Final = 75.0
"""Longer than a delivery is handled, and short enough to wait for after a crash."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One event of one call, as a subscriber meets it. `id` is its `ce-id`; `rank` orders the events of a call."""

    subscriber: str
    account: str
    call_id: str
    id: str
    rank: str


class Ended(msgspec.Struct, frozen=True):
    """How a lease ended: with a memo the event was acted upon, without it was not."""

    event: Arrival
    memo: str | None


class Claim(msgspec.Struct, frozen=True):
    """Whether a subscriber may act on an event, and what it noted when it last acted on that call.

    `duplicate`: it did. `superseded`: it acted on a greater event of the call. `taken`: another is at it, `until` then.
    """

    verdict: Literal["granted", "duplicate", "superseded", "taken"]
    memo: str = ""
    until: float = 0.0


class Inbox(Protocol):
    """What a subscriber has done. Each method raises `DatabaseAway` if its database does not answer."""

    async def claim(self, event: Arrival, now: float) -> Claim:
        """Lease the call of an event, if the event is to be acted upon."""

    async def done(self, event: Arrival, memo: str) -> None:
        """The event was acted upon; `memo` is what the next one of the call is to know."""

    async def release(self, event: Arrival) -> None:
        """It was not: another may try."""


Act = Callable[[str], Awaitable[str]]
"""Makes the effect: takes the memo of the call's last event (empty: none), and returns the next."""


async def once(event: Arrival, act: Act, *, inbox: Inbox, now: float) -> Claim:
    """Act on an event unless that was done; what `act` raises is raised, the call free again for the next attempt.

    While the inbox does not answer the effect is made all the same: it may be doubled then, and is never missing.
    Raises `Hold` while an event of the same call is in other hands, which is no fault of this one, however old it is.
    """
    try:
        claim = await inbox.claim(event, now)
    except DatabaseAway:
        claim = Claim("granted")
    if claim.verdict == "taken":
        left_s = claim.until - now
        told = f"an event of this call is acted upon; should its process have died, the call is free in {left_s:.0f} s"
        raise Hold(told, due_at=claim.until)
    if claim.verdict == "granted":
        await _act(event, act, claim.memo, inbox)
    return claim


async def _act(event: Arrival, act: Act, memo: str, inbox: Inbox) -> None:
    try:
        memo = await act(memo)
    except BaseException:
        await _quietly(inbox.release(event))
        raise
    await _quietly(inbox.done(event, memo))


async def _quietly(told: Awaitable[Any]) -> None:
    """The effect is made or not made: that an inbox away does not hear of it changes nothing of that."""
    try:
        await told
    except DatabaseAway:
        return


def arrival_of(subscriber: str, call: EnrichedCall, delivery: Delivery) -> Arrival:
    """The event of a call as a subscriber meets it. A `ce-id` that is none is told from the content, as ours is."""
    told = delivery.headers.get("ce-id")
    id_ = told if isinstance(told, str) and ID.fullmatch(told) else encode(call).event_id
    return Arrival(subscriber=subscriber, account=call.account, call_id=call.call_id, id=id_, rank=call.rank)
