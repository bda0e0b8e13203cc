"""What people ask of a call, told from wherever Vapi's document has it: who, how long, what it cost, how it went.

A fact that the call does not tell is None, never a guess. Nearly everything in Vapi's document may be missing or null,
and the same value sits in several places (Vapi's OpenAPI document and captured bodies).
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from consumers.enriched import EnrichedCall
from consumers.timestamps import instant

Direction = Literal["inbound", "outbound", "web"]
DIRECTIONS: Final[dict[Any, Direction]] = {
    "inboundPhoneCall": "inbound",
    "outboundPhoneCall": "outbound",
    "webCall": "web",
}
# The names in `costBreakdown`, and the types in `costs` for documents that have only those.
COST_TYPES: Final = {"transport": "transport", "stt": "transcriber", "llm": "model", "tts": "voice", "vapi": "vapi"}
ASSISTANT: Final = ("bot", "assistant")  # Vapi's word, and OpenAI's
CUSTOMER: Final = ("user", "customer")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one call. Durations are seconds, latencies milliseconds, money US dollars, times ISO 8601."""

    type: str | None
    direction: Direction | None
    assistant_id: str | None
    squad_id: str | None
    phone_number_id: str | None
    customer_id: str | None
    our_number: str | None
    customer_number: str | None
    customer_name: str | None
    customer_email: str | None
    customer_external_id: str | None
    started_at: str | None
    ended_at: str | None
    duration_s: float | None
    cost: float | None
    cost_transport: float | None
    cost_stt: float | None
    cost_llm: float | None
    cost_tts: float | None
    cost_vapi: float | None
    summary: str | None
    success_evaluation: str | None
    structured_data: Any
    """What the analysis plan asked to be extracted, in whatever shape it asked for."""
    structured_outputs: Any
    """By the id of each structured output its `name` and `result`, which is null where the extraction failed."""
    transcript: str | None
    recording_url: str | None
    """The one that Vapi's document has; since 2026 it answers only to the account's key."""
    assistant_talk_s: float | None
    customer_talk_s: float | None
    assistant_words: int | None
    customer_words: int | None
    assistant_interrupted: int | None
    """How often the customer cut the assistant short; `customer_interrupted` is the other way round."""
    customer_interrupted: int | None
    turn_latency_ms: float | None
    turn_latency_p95_ms: float | None


def facts_of(enriched: EnrichedCall) -> Facts:
    """The facts of an enriched call."""
    call = enriched.call
    customer, artifact, analysis = (_object(call, key) for key in ("customer", "artifact", "analysis"))
    return Facts(
        type=_text(call.get("type")),
        direction=DIRECTIONS.get(_text(call.get("type"))),
        assistant_id=_text(call.get("assistantId")) or _text(_object(call, "assistant").get("id")),
        squad_id=_text(call.get("squadId")),
        phone_number_id=_text(call.get("phoneNumberId")) or _text(_object(call, "phoneNumber").get("id")),
        customer_id=_text(call.get("customerId")),
        our_number=_text(_object(call, "phoneNumber").get("number")) or _text(call.get("phoneNumber")),
        customer_number=_text(customer.get("number")) or _text(customer.get("sipUri")),
        customer_name=_text(customer.get("name")),
        customer_email=_text(customer.get("email")),
        customer_external_id=_text(customer.get("externalId")),
        started_at=_text(call.get("startedAt")),
        ended_at=_text(call.get("endedAt")) or enriched.timeline.ended_at,
        duration_s=_duration_s(call),
        cost=_number(call.get("cost")),
        **_costs(call),
        summary=_text(analysis.get("summary")) or _text(call.get("summary")),
        success_evaluation=_word(analysis.get("successEvaluation")),
        structured_data=analysis.get("structuredData") or None,
        structured_outputs=_object(artifact, "structuredOutputs") or None,
        transcript=_text(artifact.get("transcript")) or _text(call.get("transcript")),
        recording_url=_recording_url(artifact, call),
        **_speech(_turns(artifact, call)),
        **_performance(_object(artifact, "performanceMetrics")),
    )


def _duration_s(call: dict[str, Any]) -> float | None:
    started_at, ended_at = instant(call.get("startedAt")), instant(call.get("endedAt"))
    return None if started_at is None or ended_at is None else round(max(0.0, ended_at - started_at), 3)


def _costs(call: dict[str, Any]) -> dict[str, Any]:
    told = _object(call, "costBreakdown")
    return {f"cost_{name}": _cost(told, call, name, type_) for name, type_ in COST_TYPES.items()}


def _cost(told: dict[str, Any], call: dict[str, Any], name: str, type_: str) -> float | None:
    if (cost := _number(told.get(name))) is not None:
        return cost
    parts = [_number(part.get("cost")) for part in _objects(call.get("costs")) if part.get("type") == type_]
    return round(sum(filter(None, parts)), 6) if parts else None


def _recording_url(artifact: dict[str, Any], call: dict[str, Any]) -> str | None:
    mono = _object(_object(artifact, "recording"), "mono")
    places = (mono.get("combinedUrl"), artifact.get("recordingUrl"), call.get("recordingUrl"))
    return next(filter(None, map(_text, places)), None)


def _turns(artifact: dict[str, Any], call: dict[str, Any]) -> list[dict[str, Any]]:
    return list(_objects(artifact.get("messages"))) or list(_objects(call.get("messages")))


def _speech(turns: list[dict[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for side, roles in (("assistant", ASSISTANT), ("customer", CUSTOMER)):
        spoken = [turn for turn in turns if turn.get("role") in roles]
        facts[f"{side}_talk_s"] = round(sum(map(_talk_s, spoken)), 3) if turns else None
        facts[f"{side}_words"] = (
            sum(len((_text(turn.get("message")) or "").split()) for turn in spoken) if turns else None
        )
    return facts


def _talk_s(turn: dict[str, Any]) -> float:
    """From its two times: `duration` is documented in seconds and seen in milliseconds."""
    began_ms, ended_ms = _number(turn.get("time")), _number(turn.get("endTime"))
    return 0.0 if began_ms is None or ended_ms is None else max(0.0, ended_ms - began_ms) / 1000


def _performance(metrics: dict[str, Any]) -> dict[str, Any]:
    turns = sorted(filter(None, (_number(turn.get("turnLatency")) for turn in _objects(metrics.get("turnLatencies")))))
    average = _number(metrics.get("turnLatencyAverage"))
    return {
        "assistant_interrupted": _whole(metrics.get("numAssistantInterrupted")),
        "customer_interrupted": _whole(metrics.get("numUserInterrupted")),
        "turn_latency_ms": average if average is not None or not turns else round(sum(turns) / len(turns), 2),
        "turn_latency_p95_ms": turns[max(0, -(-len(turns) * 95 // 100) - 1)] if turns else None,
    }


def _object(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    among: Iterable[Any] = value if isinstance(value, list) else ()
    return (each for each in among if isinstance(each, dict))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _word(value: Any) -> str | None:
    """`successEvaluation` is text by its schema, and a boolean or number in some documents."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) or (str(value) if isinstance(value, int | float) else None)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return int(number) if (number := _number(value)) is not None else None
