"""Dead letters as they lie on the broker, for the tests of reading and of replaying them."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from consumers.dead_letters import Letter, letter_of
from consumers.messages import Delivery
from consumers.timestamps import iso

DIED_AT = 1_790_000_000.25
CALL_ID = "0198c0de-0000-7000-8000-000000000001"
QUEUE = "calls.enrich.acme"
STORY = {
    "ce-id": f"acme/{CALL_ID}/ended",
    "x-aftercall-account": "acme",
    "x-aftercall-source": "sweep",
    "x-aftercall-received-at": "2026-09-21T10:00:00.000Z",
    "x-aftercall-queue": QUEUE,
    "x-aftercall-reason": "rejected",
    "x-aftercall-detail": "no such thing as 'x17' in line 3",
    "x-aftercall-error-type": "Reject",
    "x-aftercall-attempt": 4,
    "x-aftercall-first-attempt-at": iso(DIED_AT - 60),
    "x-aftercall-died-at": iso(DIED_AT),
    "x-aftercall-last-error": "later",
    "x-aftercall-version": 2,
}
DEATH = {
    "count": 1,
    "reason": "delivery_limit",
    "queue": QUEUE,
    "time": datetime.fromtimestamp(DIED_AT, UTC),
    "exchange": "calls.requeue",
    "routing-keys": [QUEUE],
}
EXPIRY = DEATH | {"reason": "expired", "queue": "calls.retry.5s"}


def lying(lies_in: str = f"{QUEUE}.dead", headers: dict[str, Any] | None = None, **changes: Any) -> Delivery:
    given_ = {"queue": lies_in, "body": b"{}", "headers": STORY if headers is None else headers, "call_id": CALL_ID}
    return Delivery(**given_ | changes)


def read(delivery: Delivery | None = None, **came: str) -> Letter:
    defaults = {"exchange": "calls.dead", "routing_key": QUEUE, "message_id": "m-1"}
    return letter_of(delivery or lying(), **defaults | came)


def dead(**changes: Any) -> Letter:
    return msgspec.structs.replace(read(), **changes)
