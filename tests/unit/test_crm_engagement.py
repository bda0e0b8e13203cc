from typing import Any

import pytest

from consumers.crm.engagement import BUSY, CONNECTED, LEFT_VOICEMAIL, NO_ANSWER, engagement_of
from consumers.crm.rules import Crm
from consumers.facts import facts_of
from consumers.paths import document_of
from tests.unit.builders import CALL_ID, enriched_call, fetched

RECORDING = "https://storage.vapi.ai/a-mono.wav"


def engagement(rules: Crm | None = None, **changes: Any) -> dict[str, str]:
    call = enriched_call(**({"call": fetched()} | changes))
    return engagement_of(call, document_of(call), facts_of(call), rules or Crm())


def outcome(result: str, reason: str, ended_reason: str) -> dict[str, str]:
    return {"result": result, "reason": reason, "endedReason": ended_reason}


def test_a_call_is_told_in_hubspots_names_and_units() -> None:
    told = engagement(call=fetched(phoneNumber={"number": "+14155550100"}))

    body = told.pop("hs_call_body")
    assert told.pop("hs_call_recording_url").startswith("https://storage.vapi.ai/")
    assert told == {
        "hs_timestamp": "2026-08-31T17:04:25.612Z",
        "hs_call_title": "Vapi call: customer-ended",
        "hs_call_direction": "OUTBOUND",
        "hs_call_duration": "89865",
        "hs_call_from_number": "+14155550100",
        "hs_call_to_number": "+15035550167",
        "hs_call_status": "COMPLETED",
        "hs_call_disposition": CONNECTED,
        "hs_call_external_id": CALL_ID,
        "aftercall_call_id": CALL_ID,
    }
    assert body.startswith("Maya reached Priya Raman")
    assert "<br><br>Outcome: completed (customer-ended-call)<br>" in body


def test_an_inbound_call_comes_from_the_customer_and_a_web_call_from_no_number() -> None:
    inbound = engagement(call=fetched(type="inboundPhoneCall", phoneNumber={"number": "+14155550100"}))
    web = engagement(call=fetched("web"))

    assert (inbound["hs_call_direction"], inbound["hs_call_from_number"]) == ("INBOUND", "+15035550167")
    assert inbound["hs_call_to_number"] == "+14155550100"
    assert web["hs_call_direction"] == "INBOUND"
    assert not web.keys() & {"hs_call_from_number", "hs_call_to_number"}


@pytest.mark.parametrize(
    ("told", "status", "disposition"),
    [
        (outcome("completed", "transferred", "assistant-forwarded-call"), "COMPLETED", CONNECTED),
        (outcome("unreached", "voicemail", "voicemail"), "NO_ANSWER", LEFT_VOICEMAIL),
        (outcome("unreached", "no-answer", "customer-did-not-answer"), "NO_ANSWER", NO_ANSWER),
        (outcome("unreached", "no-answer", "customer-busy"), "BUSY", BUSY),
        (outcome("unreached", "canceled", "manually-canceled"), "CANCELED", None),
        (outcome("failed", "pipeline-error", "pipeline-error-x"), "FAILED", None),
        (outcome("unknown", "unknown", "what-is-this"), None, None),
    ],
)
def test_an_outcome_has_its_status_and_its_disposition(
    told: dict[str, str], status: str | None, disposition: str | None
) -> None:
    properties = engagement(outcome=told)

    assert (properties.get("hs_call_status"), properties.get("hs_call_disposition")) == (status, disposition)


def test_dispositions_of_ones_own_go_before_those_of_hubspot() -> None:
    rules = Crm(dispositions={"customer-ended": "by-class", "customer-ended-call": "by-word", "voicemail": ""})

    assert engagement(rules)["hs_call_disposition"] == "by-word"
    assert "hs_call_disposition" not in engagement(rules, outcome=outcome("unreached", "voicemail", "voicemail"))


def test_a_mapping_adds_replaces_and_takes_away() -> None:
    rules = Crm(
        call_properties={"hubspot_owner_id": 7, "hs_call_title": "Call of {facts.customer_name}", "hs_call_body": ""},
        call_key="",
    )

    told = engagement(rules)

    assert (told["hubspot_owner_id"], told["hs_call_title"]) == ("7", "Call of Priya Raman")
    assert not told.keys() & {"hs_call_body", "aftercall_call_id"}


@pytest.mark.parametrize(
    "address",
    [
        "http://storage.vapi.ai/a.wav",
        f"{RECORDING}?X-Amz-Signature=1&X-Amz-Expires=3600",
        f"{RECORDING}?Expires=1&Signature=x",
        f"{RECORDING}?token=eyJhbGciOiJIUzI1NiJ9",
        "https://[broken/a.wav",
        "no address",
    ],
)
def test_a_recording_that_expires_or_that_hubspot_does_not_take_is_left_out(address: str) -> None:
    assert "hs_call_recording_url" not in engagement(call={"id": CALL_ID, "artifact": {"recordingUrl": address}})


def test_a_call_that_was_never_answered_has_the_time_of_its_end() -> None:
    assert engagement(call={"id": CALL_ID})["hs_timestamp"] == "2026-08-31T17:05:55.477Z"
