"""How a delivery is settled: the one table, as a pure function from what the consumer said to what is published.

Waits between attempts with the default tiers, and the time since the first attempt:

    attempt   1    2     3      4       5       6      7, 8, …
    wait      5 s  30 s  2 min  10 min  1 h     6 h    6 h
    since     5 s  35 s  155 s  13 min  73 min  7.2 h  13.2 h, 19.2 h, … up to the time to give up
"""

import traceback
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from consumers.messages import DEAD, EVENTS, OURS, RETRY, Delivery, Journey, Message, event_headers, journey_of
from consumers.outcomes import Hold, Later, Reject, Retry, TooLarge, Undecodable
from consumers.quoting import place_in
from consumers.timestamps import iso

ATTEMPT: Final = f"{OURS}attempt"
FIRST_ATTEMPT_AT: Final = f"{OURS}first-attempt-at"
REASONS: Final = {Undecodable: "undecodable", Reject: "rejected", TooLarge: "too-large"}

Name = Literal["acked", "retried", "held", "dead_lettered"]
DETAIL_MAX: Final = 8192  # headers must fit one AMQP frame of 128 KiB, beside those the message already has


class Schedule(msgspec.Struct, frozen=True):
    """The tiers (seconds, growing) and when to give up (seconds after the first attempt)."""

    tiers_s: tuple[int, ...]
    give_up_after_s: float
    notes: bool = True
    """Whether the ledger has a queue: a note that nobody keeps would lie in `calls.unrouted`."""


class Settlement(msgspec.Struct, frozen=True):
    """What to publish, in this order, before the delivery is acknowledged; and how that is called.

    `detail` is for the log: of an error that nobody foresaw only type and place, since its text may quote a call.
    """

    name: Name
    messages: tuple[Message, ...]
    reason: str = ""
    detail: str = ""
    due_at: float | None = None
    """When something must happen to a delivery that waits (epoch seconds), if it said."""


def tier_name(wait_s: int) -> str:
    """`5s`, `2m`, `6h`: a wait in its largest whole unit."""
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if wait_s % unit_s == 0:
            return f"{wait_s // unit_s}{unit}"
    return f"{wait_s}s"


class _Case(msgspec.Struct, frozen=True):
    """A delivery to be settled `now`, by a schedule."""

    delivery: Delivery
    journey: Journey
    schedule: Schedule
    now: float

    @property
    def give_up_at(self) -> float:
        return self.journey.first_attempt_at + self.schedule.give_up_after_s


def settle(delivery: Delivery, said: tuple[Message, ...] | Exception, *, schedule: Schedule, now: float) -> Settlement:
    """Decide about a delivery: `said` is what its consumer returned or raised. Every case ends in a settlement."""
    case = _Case(delivery, journey_of(delivery, now), schedule, now)
    match said:
        case tuple() if all(isinstance(message, Message) for message in said):
            return Settlement("acked", said)
        case Hold():
            return _later(case, said, hold_tier_s(case, said))
        case Retry() if now < case.give_up_at:
            return _later(case, said, retry_tier_s(case, said))
        case Retry():
            return _dead(case, "gave-up", said.reason, said, first=said.first, remember=said.remember)
        case Undecodable() | Reject() | TooLarge():
            return _dead(case, _reason_of(said), _text(said), said)
        case Exception():
            return _bug(case, said)
        case _:
            return _bug(case, TypeError("a consumer returns a tuple of messages, and this one did not"))


def retry_tier_s(case: _Case, retry: Retry) -> int:
    """The wait of a retry: what it asks for, rounded up to a tier, or the next by attempt."""
    tiers = case.schedule.tiers_s
    index = bisect_left(tiers, retry.after) if retry.after is not None else case.journey.attempt - 1
    return _cut(case, retry, tiers[min(index, len(tiers) - 1)])


def hold_tier_s(case: _Case, hold: Hold) -> int:
    """The wait of a hold: the largest tier not above the message's age, so that a long outage is no churn."""
    tiers = case.schedule.tiers_s
    by_age = _floor(tiers, case.now - min(case.journey.received_at, case.journey.first_attempt_at))
    asked = tiers[min(bisect_left(tiers, hold.after), len(tiers) - 1)] if hold.after is not None else 0
    return _cut(case, hold, max(by_age, asked))


def _cut(case: _Case, later: Later, wait_s: int) -> int:
    """Never past the next due moment: rounded down to a tier, of which the shortest is the least."""
    due = [at for at in (later.due_at,) if at is not None] + [at for at in (case.give_up_at,) if at > case.now]
    left_s = min(due, default=case.now + wait_s) - case.now
    return wait_s if wait_s <= left_s else _floor(case.schedule.tiers_s, left_s)


def _floor(tiers: tuple[int, ...], wait_s: float) -> int:
    return tiers[max(0, bisect_right(tiers, wait_s) - 1)]


def _later(case: _Case, later: Later, tier_s: int, detail: str = "") -> Settlement:
    counts = isinstance(later, Retry)
    name: Name = "retried" if counts else "held"
    tier = tier_name(tier_s)
    changes = {ATTEMPT: case.journey.attempt + counts, f"{OURS}last-error": _fit(later.reason[:DETAIL_MAX])}
    waiting = _again(case, RETRY + tier, later.remember | changes)
    notes = _notes(case, name, {"detail": detail or later.reason, "tier": tier})
    return Settlement(name, (*later.first, waiting, *notes), tier, detail or later.reason, later.due_at)


def _bug(case: _Case, error: Exception) -> Settlement:
    """An error nobody foresaw: tried again tier by tier, then a dead letter with its traceback."""
    if case.journey.attempt <= len(case.schedule.tiers_s) and case.now < case.give_up_at:
        again = Retry(f"{type(error).__name__}: {_text(error)}")
        return _later(case, again, retry_tier_s(case, again), place_in(error))
    return _dead(case, "error", "".join(traceback.format_exception(error)), error)


def _reason_of(error: Exception) -> str:
    return next(reason for kind, reason in REASONS.items() if isinstance(error, kind))


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an error that cannot even tell itself is settled like any other
        return "an error without words"


def _dead(
    case: _Case,
    reason: str,
    detail: str,
    error: Exception,
    *,
    first: tuple[Message, ...] = (),
    remember: Mapping[str, Any] | None = None,
) -> Settlement:
    story = story_of(case.delivery.queue, reason, detail, type(error).__name__, case.now)
    letter = _again(case, DEAD, {**(remember or {}), **story, ATTEMPT: case.journey.attempt})
    notes = _notes(case, "dead", {"reason": reason, "detail": detail})
    told = place_in(error) if reason == "error" else detail
    return Settlement("dead_lettered", (*first, letter, *notes), reason, told)


def story_of(queue: str, reason: str, detail: str, error_type: str, now: float) -> dict[str, Any]:
    """The headers that tell why a letter is dead; of a long detail the end, where a traceback names the error."""
    return {
        f"{OURS}queue": queue,
        f"{OURS}reason": reason,
        f"{OURS}detail": _fit(detail[-DETAIL_MAX:]),
        f"{OURS}error-type": error_type,
        f"{OURS}died-at": iso(now),
    }


def _fit(text: str) -> str:
    """`text` as a header can carry it: half a surrogate pair, which an error may quote, is no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _again(case: _Case, exchange: str, changes: dict[str, Any]) -> Message:
    """The same message, bytes and encoding kept, on its way to a tier or the dead letters: the key names the queue."""
    delivery, journey = case.delivery, case.journey
    lasting = {
        f"{OURS}account": delivery.account,
        f"{OURS}received-at": iso(journey.received_at),
        FIRST_ATTEMPT_AT: iso(journey.first_attempt_at),
    }
    return Message(
        exchange=exchange,
        routing_key=delivery.queue,
        body=delivery.body,
        type=delivery.type,
        call_id=delivery.call_id,
        headers=delivery.kept_headers() | lasting | changes,
        content_type=delivery.content_type,
        content_encoding=delivery.content_encoding,
    )


def _notes(case: _Case, what: str, story: dict[str, Any]) -> tuple[Message, ...]:
    if not case.schedule.notes:
        return ()
    tried = {
        ATTEMPT: case.journey.attempt,
        FIRST_ATTEMPT_AT: iso(case.journey.first_attempt_at),
        f"{OURS}received-at": iso(case.journey.received_at),
        f"{OURS}source": case.journey.source,
    }
    told = {f"{OURS}{key}": _fit(value[-DETAIL_MAX:]) for key, value in story.items()}
    told[f"{OURS}queue"] = case.delivery.queue
    return (note(what, case.delivery.account, case.delivery.call_id, case.now, tried | told),)


def note(what: str, account: str, call_id: str, now: float, story: dict[str, Any]) -> Message:
    """A message without a body that tells the ledger `what` happened to a call: its headers are the whole of it."""
    headers = event_headers(
        type_="call.noted", id_=f"{account}/{call_id}/{what}/{now:.6f}", account=account, call_id=call_id, at=now
    )
    return Message(
        exchange=EVENTS,
        routing_key=f"call.noted.{account}.{what}",
        body=b"",
        type="call.noted",
        call_id=call_id,
        headers=headers | story,
        content_type=None,
    )
