"""The messages: what each tells in its headers, and the schema of its body."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

import orjson

from consumers.enriched import AMENDED, ENRICHED
from consumers.ledger import NOTED
from consumers.messages import END_OF_CALL_REPORT, OURS
from consumers.notifications import CALL_ENDED
from consumers.replays import PREVIOUS, STORY
from consumers.settling import REASONS

Json = dict[str, Any]
TEXT: Final[Json] = {"type": "string"}
INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
COUNT: Final[Json] = {"type": "integer", "minimum": 1}
LETTER: Final = "letter"
OTHER_REASONS: Final = ("gave-up", "error", "no-type", "no-call-id", "delivery-limit", "unrouted")
LETTER_REASONS: Final = (*REASONS.values(), *OTHER_REASONS)
SUMMARIES: Final = {
    CALL_ENDED: "A call has ended: the webhook's bytes, untouched.",
    ENRICHED: "A call as Vapi's API and webhook tell it together, the first time it goes out.",
    AMENDED: "The same call again, knowing more: version 2 and up.",
    NOTED: "What happened to a call on its way. It has no body: the headers are the whole of it.",
    LETTER: "A message that could not be handled: its body and headers as they were, and why. If the broker put it"
    " there, at the delivery limit or for a consumer that rejected it, x-death tells that instead.",
}
PAYLOADS: Final = {CALL_ENDED: "EndOfCallReport", ENRICHED: "EnrichedCall", AMENDED: "EnrichedCall"}
PROPERTIES: Final[Mapping[str, str]] = {
    "content_type": "application/json; none for a note",
    "content_encoding": "gzip for a body over 1 MiB",
    "delivery_mode": "2: persistent",
    "message_id": "unique to each publish: what names the content is the header ce-id",
    "correlation_id": "the call's id",
    "timestamp": "when it was published",
    "type": "the event, as in the header ce-type",
    "app_id": "aftercall",
}

CLOUD: Final[Mapping[str, Json]] = {
    "ce-specversion": {"const": "1.0"},
    "ce-id": TEXT | {"description": "Names the content: drop what you have seen under the same id."},
    "ce-type": TEXT | {"description": "The event."},
    "ce-source": TEXT | {"pattern": "^/accounts/[a-z0-9-]{1,40}$"},
    "ce-time": INSTANT,
    "ce-subject": TEXT | {"description": "The call's id."},
}
"""CloudEvents 1.0 in binary mode, as `consumers.messages.event_headers` writes it."""
OURS_OF: Final[Mapping[str, Json]] = {
    "account": TEXT | {"description": "The Vapi organisation.", "pattern": "^[a-z0-9-]{1,40}$"},
    "source": {"enum": ["webhook", "sweep", "replay"], "description": "How the end of the call came in."},
    "received-at": INSTANT | {"description": "When the end of the call came in."},
    "attempt": COUNT | {"description": "The attempt of this delivery, from 1."},
    "first-attempt-at": INSTANT,
    "version": COUNT | {"description": "Of the enriched call: of this one, or of the one that went out already."},
    "last-error": TEXT | {"description": "Why the attempt before did not succeed."},
    "missing": TEXT | {"description": "What the call that went out lacks, with commas between."},
    "emitted": TEXT | {"description": "The ce-id of the call that went out."},
    "refused": TEXT | {"description": "The targets of `forward` that refused it for good: a JSON object of reasons."},
    "queue": TEXT | {"description": "The queue it failed in."},
    "reason": {"enum": list(LETTER_REASONS), "description": "Why it is dead."},
    "detail": TEXT | {"description": "The same in words; of an unforeseen error the traceback."},
    "error-type": TEXT,
    "died-at": INSTANT,
    "tier": TEXT | {"description": "Where it waits for its next attempt, such as 5s."},
    "to": TEXT | {"description": "Where a replay took it."},
}
"""What each of our headers is, by its name behind `x-aftercall-`."""
TRACE: Final[Mapping[str, Json]] = {
    name: TEXT | {"description": "W3C Trace Context."} for name in ("traceparent", "tracestate")
}

ARRIVED: Final = ("account", "source", "received-at", "attempt")
TRIED: Final = ("first-attempt-at", "last-error", "refused")
DEAD: Final = ("queue", "reason", "detail", "error-type", "died-at")
ALWAYS: Final[Mapping[str, tuple[str, ...]]] = {
    CALL_ENDED: ARRIVED,
    ENRICHED: (*ARRIVED, "version"),
    AMENDED: (*ARRIVED, "version"),
    NOTED: ("account",),
    LETTER: (),
}
SOMETIMES: Final[Mapping[str, tuple[str, ...]]] = {
    CALL_ENDED: (*TRIED, "version", "missing", "emitted"),
    ENRICHED: TRIED,
    AMENDED: TRIED,
    NOTED: ("source", "received-at", "attempt", "first-attempt-at", "queue", "reason", "detail", "tier", "to"),
    LETTER: (*ARRIVED, *TRIED, *DEAD, "version", "missing", "emitted"),
}
"""What else a delivery tells that is tried again, a note of what it notes, and a letter of what was tried."""
VERSIONS: Final[Mapping[str, Json]] = {ENRICHED: {"const": 1}, AMENDED: {"minimum": 2}}


def messages() -> Json:
    """Every message, by its name."""
    return {name: _message(name) for name in SUMMARIES}


def schemas() -> Json:
    """The schemas of the bodies."""
    enriched = {key: value for key, value in enriched_call_schema().items() if not key.startswith("$")}
    return {"EnrichedCall": enriched, "EndOfCallReport": _report_schema()}


def enriched_call_schema() -> Json:
    """The JSON Schema of the enriched call, as it ships beside the consumers."""
    schema: Json = orjson.loads(files("consumers").joinpath("enriched_call.schema.json").read_bytes())
    return schema


def _message(name: str) -> Json:
    body = {"payload": {"$ref": f"#/components/schemas/{PAYLOADS[name]}"}} if name in PAYLOADS else {}
    return {
        "name": name,
        "summary": SUMMARIES[name],
        "headers": _headers(name),
        "correlationId": {"location": "$message.header#/ce-subject", "description": "The call's id."},
        "bindings": {"amqp": {"messageType": name, "bindingVersion": "0.3.0"}} if name != LETTER else {},
        "x-amqp-properties": PROPERTIES,
        **body,
    }


def _headers(name: str) -> Json:
    ours = {OURS + each: OURS_OF[each] for each in (*ALWAYS[name], *SOMETIMES[name])}
    past = {PREVIOUS + each: OURS_OF[each] for each in STORY} if name != NOTED else {}
    described = {**CLOUD, **ours, **past, **TRACE}
    if name == LETTER:
        told = [OURS + each for each in ("account", "received-at", "attempt", "first-attempt-at", *DEAD)]
        return {"type": "object", "properties": described, "anyOf": [{"required": told}, {"required": ["x-death"]}]}
    described["ce-type"] = {"const": name}
    if name in VERSIONS:
        described[f"{OURS}version"] = OURS_OF["version"] | VERSIONS[name]
    required = [*CLOUD, *(OURS + each for each in ALWAYS[name])]
    if name == NOTED:
        required.remove("ce-subject")  # one may be about no call
    return {"type": "object", "required": required, "properties": described}


def _report_schema() -> Json:
    """What every notification has; the rest is Vapi's end-of-call-report, which `aftercall` does not narrow."""
    call = _object({"id": TEXT})
    message = _object({"type": {"const": END_OF_CALL_REPORT}, "call": call})
    return _object({"message": message})


def _object(properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}
