"""The engagement that logs a call in HubSpot: its properties, by default and as the mapping has them.

Source: HubSpot's guide to the calls API (2026-09) for names, units, statuses and the GUIDs of the default outcomes.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from consumers.crm.rules import Crm
from consumers.crm.values import source_of, text_of
from consumers.ended_reasons import Outcome
from consumers.enriched import EnrichedCall
from consumers.facts import Facts
from consumers.timestamps import instant, iso

Properties = dict[str, str]

BUSY: Final = "9d9162e7-6cf3-4944-bf63-4dff82258764"
CONNECTED: Final = "f240bbac-87c9-4f6e-bf70-924b57d47db7"
LEFT_VOICEMAIL: Final = "b2cf5968-551e-4856-9783-52b3da59a7d0"
NO_ANSWER: Final = "73a0d17f-1163-4015-bdd5-ec830791da20"
# By class of reason, or by Vapi's own word where that says more.
DISPOSITIONS: Final[Mapping[str, str]] = {
    "customer-ended": CONNECTED,
    "assistant-ended": CONNECTED,
    "transferred": CONNECTED,
    "timed-out": CONNECTED,
    "voicemail": LEFT_VOICEMAIL,
    "no-answer": NO_ANSWER,
    "customer-busy": BUSY,
}
STATUSES: Final[Mapping[str, str]] = {
    "completed": "COMPLETED",
    "unreached": "NO_ANSWER",
    "failed": "FAILED",
    "canceled": "CANCELED",
    "customer-busy": "BUSY",
}
TITLE: Final = "Vapi call: {outcome.reason}"
BODY: Final = """\
{facts.summary}

Outcome: {outcome.result} ({outcome.endedReason})
Success evaluation: {facts.success_evaluation}
Vapi call: {callId}"""
# How stores of objects sign an address that is to expire.
SIGNED: Final = frozenset({"x-amz-signature", "x-goog-signature", "signature", "sig", "expires", "token"})


def engagement_of(call: EnrichedCall, document: Mapping[str, Any], facts: Facts, rules: Crm) -> Properties:
    """The properties of a call's engagement; what the call does not have is left out."""
    told = _by_default(call, document, facts, rules)
    for name, given in rules.call_properties.items():
        told[name] = source_of(name, given)(document)
    if rules.call_key:
        told[rules.call_key] = call.call_id
    return {name: text for name, text in told.items() if text}


def _by_default(call: EnrichedCall, document: Mapping[str, Any], facts: Facts, rules: Crm) -> Properties:
    is_ours = facts.direction == "outbound"
    ours, theirs = facts.our_number, facts.customer_number
    return {
        "hs_timestamp": _begun_at(call, facts),
        "hs_call_title": source_of("hs_call_title", TITLE)(document),
        "hs_call_body": source_of("hs_call_body", BODY)(document),
        "hs_call_direction": "OUTBOUND" if is_ours else "INBOUND",
        "hs_call_duration": text_of(None if facts.duration_s is None else round(facts.duration_s * 1000)),
        "hs_call_from_number": text_of(ours if is_ours else theirs),
        "hs_call_to_number": text_of(theirs if is_ours else ours),
        "hs_call_status": _by_outcome(STATUSES, call.outcome),
        "hs_call_disposition": _by_outcome({**DISPOSITIONS, **rules.dispositions}, call.outcome),
        "hs_call_recording_url": recording_of(facts),
        "hs_call_external_id": call.call_id,
    }


def _begun_at(call: EnrichedCall, facts: Facts) -> str:
    times = (facts.started_at, facts.ended_at, call.timeline.ended_at, call.timeline.received_at)
    begun_at = next(filter(None, map(instant, times)), None)
    return "" if begun_at is None else iso(begun_at)


def _by_outcome(table: Mapping[str, str], outcome: Outcome) -> str:
    wanted = (outcome.ended_reason or "", outcome.reason, outcome.result)
    return next((table[each] for each in wanted if each in table), "")


def recording_of(facts: Facts) -> str:
    """The recording's address, if HubSpot takes it and it does not expire: https, and not signed."""
    try:
        address = urlsplit(facts.recording_url or "")
    except ValueError:
        return ""
    names = {name.lower() for name, _value in parse_qsl(address.query, keep_blank_values=True)}
    return address.geturl() if address.scheme == "https" and not names & SIGNED else ""
