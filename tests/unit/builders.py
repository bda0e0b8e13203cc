"""Bodies, deliveries and notifications to test with, in Vapi's shapes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson
from hypothesis import strategies as st

from consumers.enriched import EnrichedCall, emission
from consumers.messages import Delivery, Journey
from consumers.notifications import Notification
from consumers.timestamps import instant

SAMPLES = Path(__file__).parents[1] / "samples"
CALL_ID = "01a058c7-4c94-7cd1-8155-66af75f0734c"
ENDED_AT = instant("2026-08-31T17:05:55.477Z") or 0.0
RECEIVED_AT = ENDED_AT + 5
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

KEYS = st.text("abcdeXYZ_", min_size=1, max_size=4)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=5)


def sample_bytes(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def sample(name: str) -> Any:
    return orjson.loads(sample_bytes(f"{name}.json"))


def report(name: str = "outbound-ended", **changes: Any) -> dict[str, Any]:
    """The `message` of a sample report; a field changed to `...` is left out."""
    changed = sample(f"end-of-call-report-{name}")["message"] | changes
    return {key: value for key, value in changed.items() if value is not ...}


def fetched(name: str = "outbound-ended", **changes: Any) -> dict[str, Any]:
    changed = sample(f"call-{name}") | changes
    return {key: value for key, value in changed.items() if value is not ...}


def delivery(body: bytes = b"{}", headers: Mapping[str, Any] | None = None, **changes: Any) -> Delivery:
    given: dict[str, Any] = {"queue": "calls.enrich.default", "call_id": CALL_ID, "type": "call.ended"}
    return Delivery(body=body, headers=headers or {}, **(given | changes))


def notification(
    of: dict[str, Any] | None = None, *, account: str = "default", ended_at: float = ENDED_AT, **journey: Any
) -> Notification:
    given: dict[str, Any] = {
        "source": "webhook",
        "received_at": RECEIVED_AT,
        "attempt": 1,
        "first_attempt_at": RECEIVED_AT,
        "version": 0,
        "emitted": "",
        "missing": (),
    }
    return Notification(
        account=account,
        call_id=CALL_ID,
        report=report() if of is None else of,
        ended_at=ended_at,
        journey=Journey(**(given | journey)),
        trace={"traceparent": TRACEPARENT},
    )


def enriched_call(**changes: Any) -> EnrichedCall:
    """An enriched call read from what stands on the wire, as a subscriber would."""
    document = {
        "schema": "aftercall.call/1",
        "account": "default",
        "callId": CALL_ID,
        "version": 1,
        "complete": True,
        "missing": [],
        "outcome": {"result": "completed", "reason": "customer-ended", "endedReason": "customer-ended-call"},
        "call": {"id": CALL_ID, "status": "ended"},
        "provenance": {"source": "api", "fromWebhook": [], "redacted": []},
        "timeline": {
            "endedAt": "2026-08-31T17:05:55.477Z",
            "receivedAt": "2026-08-31T17:06:00.477Z",
            "fetchedAt": "2026-08-31T17:06:01.000Z",
            "emittedAt": "2026-08-31T17:06:01.000Z",
            "attempts": 1,
        },
    }
    return msgspec.convert(document | changes, EnrichedCall)


def archivable(call: EnrichedCall, emitted_at: float) -> Delivery:
    """An enriched call as the archive takes it from its queue."""
    message = emission(call, source="webhook", emitted_at=emitted_at, trace={})
    return Delivery(
        queue="calls.postcall",
        body=message.body,
        headers=message.headers,
        type=message.type,
        call_id=message.call_id,
        content_encoding=message.content_encoding,
    )
