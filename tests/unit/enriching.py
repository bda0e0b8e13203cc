"""Policies, answers and deliveries to enrich with, and what is decided by them."""

import copy
from typing import Any

import orjson
import pytest

from consumers.enrich import (
    Answer,
    Policy,
    decide,
)
from consumers.enriched import EnrichedCall
from consumers.messages import Delivery, Message
from consumers.notifications import Notification
from consumers.outcomes import Later
from consumers.redaction import redactor
from consumers.settling import Schedule
from tests.unit.builders import CALL_ID, ENDED_AT, RECEIVED_AT, fetched, notification, report, sample_bytes

EMIT_AFTER_S, GIVE_UP_AFTER_S = 900, 90_000
SOON = RECEIVED_AT + 1
DEADLINE = ENDED_AT + EMIT_AFTER_S
OVER = RECEIVED_AT + GIVE_UP_AFTER_S
SCHEDULE = Schedule((5, 30, 120, 600, 3600, 21600), GIVE_UP_AFTER_S)

# An answered call whose cost nobody knows yet: what is late most often.
NO_COST = report(cost=...)
LATE = fetched(cost=...)
NOT_FOUND = Answer(trouble="Vapi has no call of this id")
GONE = Answer(trouble="Vapi has no call of this id", is_gone=True)
UNREADABLE = Answer(trouble="cut off")
DOWN = Answer(trouble="Vapi answers 503", is_shared=True, retry_after=70)
OUTAGE = Answer(trouble="the breaker is open", is_shared=True, is_outage=True, retry_after=60)


async def unknown(_account: str, _call_id: str) -> bool:
    return False


def policy(now: float = SOON, seen: list[EnrichedCall] | None = None, **changes: Any) -> Policy:
    told: dict[str, Any] = {
        "emit_after_s": EMIT_AFTER_S,
        "give_up_after_s": GIVE_UP_AFTER_S,
        "redact": redactor(["defaults"]),
        "observe": ([] if seen is None else seen).append,
        "is_known": unknown,
        "clock": lambda: now,
    }
    return Policy(**(told | changes))


def answered(call: dict[str, Any]) -> Answer:
    return Answer(call=copy.deepcopy(call))


def decided(of: Notification, answer: Answer, now: float, **changes: Any) -> tuple[Message, ...]:
    return decide(of, answer, policy(now, **changes), now)


def later(of: Notification, answer: Answer, now: float, **changes: Any) -> Later:
    with pytest.raises(Later) as caught:
        decided(of, answer, now, **changes)
    return caught.value


def body_of(message: Message) -> dict[str, Any]:
    document = orjson.loads(message.body)
    assert isinstance(document, dict)
    return document


def only(messages: tuple[Message, ...]) -> tuple[Message, dict[str, Any]]:
    (message,) = messages
    return message, body_of(message)


def again(of: dict[str, Any], after: Later, **changes: Any) -> Notification:
    """The notification as it comes back from the tier, remembering what went out."""
    remembered = {
        "version": after.remember["x-aftercall-version"],
        "missing": tuple(after.remember["x-aftercall-missing"].split(",")),
        "emitted": after.remember["x-aftercall-emitted"],
    }
    return notification(copy.deepcopy(of), **(remembered | changes))


def arrived(call_id: str = CALL_ID, **headers: str) -> Delivery:
    told = {
        "x-aftercall-received-at": "2026-08-31T17:06:00.477Z",
        "x-aftercall-first-attempt-at": "2026-08-31T17:06:00.477Z",
    }
    return Delivery(
        queue="calls.enrich.default",
        body=sample_bytes("end-of-call-report-outbound-ended.json"),
        headers=told | {f"x-aftercall-{key}": value for key, value in headers.items()},
        call_id=call_id,
    )
