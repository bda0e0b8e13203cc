"""Events, letters and the story they come to, for the tests of what is told of a call."""

from typing import Any

from consumers.dead_letters import Letter
from consumers.ledger import Event
from consumers.prospects import Next, Rules
from consumers.story import Story, tell

CALL = "01a058c7-4c94-7cd1-8155-66af75f0734c"
ENRICH = "calls.enrich.default"
AT = 1_800_000_000.0
RULES = Rules(emit_after_s=900, give_up_after_s=90_000, reached=lambda key: (f"queue of {key}",))
NOWHERE: tuple[Letter, ...] = ()
DONE = "nothing, the complete call has gone out"


def event(kind: Any, at: float = AT, **changes: Any) -> Event:
    given_ = {"account": "default", "call_id": CALL, "kind": kind, "at": at, "event_id": f"default/{CALL}/{kind}/{at}"}
    return Event(**(given_ | changes))


def enriched(at: float = AT, **changes: Any) -> Event:
    told: dict[str, Any] = {
        "version": 1,
        "complete": True,
        "result": "completed",
        "reason": "customer-ended",
        "ended_reason": "customer-ended-call",
        "joined_from": "both",
        "attempt": 1,
        "source": "webhook",
        "received_at": AT - 5,
        "ended_at": AT - 10,
    }
    return event("enriched", at, **(told | changes))


def retried(at: float = AT, **changes: Any) -> Event:
    told = {"queue": ENRICH, "detail": "not final yet", "tier": "10m", "attempt": 1, "first_attempt_at": AT}
    return event("retried", at, **(told | changes))


def letter(queue: str = ENRICH, **changes: Any) -> Letter:
    told: dict[str, Any] = {
        "id": "3f2a9c0d41be",
        "lies_in": f"{queue}.dead",
        "queue": queue,
        "reason": "gave-up",
        "call_id": CALL,
        "account": "default",
        "attempts": 4,
        "died_at": AT + 1,
        "detail": "Vapi has no call of this id",
        "error_type": "Retry",
        "exchange": "calls.dead",
        "routing_key": queue,
    }
    return Letter(**(told | changes))


def story(*events: Event, letters: Any = NOWHERE, now: float = AT + 2, ended_at: float | None = None) -> Story:
    return tell(events, letters, RULES, now=now, ended_at=ended_at)


def next_of(*events: Event, **changes: Any) -> Next:
    (only,) = story(*events, **changes).next
    return only
