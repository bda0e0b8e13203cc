import gzip
import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.enriched import emission, encode
from tests.unit.builders import CALL_ID, OBJECTS, RECEIVED_AT, TRACEPARENT, enriched_call


def digits_of(document: dict[str, Any]) -> str:
    """What the contract says of `ce-id`, computed from what a subscriber has in hand."""
    content = {key: value for key, value in document.items() if key not in ("version", "timeline")}
    return hashlib.sha256(orjson.dumps(content)).hexdigest()[:16]


@given(OBJECTS)
def test_the_id_of_an_event_is_account_call_and_the_sha_256_of_its_content(call: dict[str, Any]) -> None:
    encoded = encode(enriched_call(call=call, account="acme"))
    assert encoded.event_id == f"acme/{CALL_ID}/{digits_of(orjson.loads(encoded.body))}"


@given(OBJECTS, st.integers(1, 9), st.integers(1, 99))
def test_equal_content_has_an_equal_id_whatever_version_and_timeline(
    call: dict[str, Any], version: int, attempts: int
) -> None:
    times = {"endedAt": "a", "receivedAt": "b", "fetchedAt": None, "emittedAt": "d", "attempts": attempts}
    other = encode(enriched_call(call=call, version=version, timeline=times))
    assert other.event_id == encode(enriched_call(call=call)).event_id


@pytest.mark.parametrize(
    "change",
    [
        {"call": {"id": CALL_ID, "status": "ended", "cost": 0}},
        {"call": {"id": CALL_ID, "status": "ended "}},
        {"complete": False},
        {"missing": ["cost"]},
        {"outcome": {"result": "completed", "reason": "customer-ended", "endedReason": None}},
        {"provenance": {"source": "both", "fromWebhook": [], "redacted": []}},
        {"provenance": {"source": "api", "fromWebhook": [], "redacted": ["server"]}},
        {"account": "acme"},
    ],
)
def test_other_content_is_another_event(change: dict[str, Any]) -> None:
    digits = encode(enriched_call(**change)).event_id.rpartition("/")[2]
    assert digits != encode(enriched_call()).event_id.rpartition("/")[2]


@given(OBJECTS, OBJECTS)
def test_calls_that_differ_have_ids_that_differ(call: dict[str, Any], other: dict[str, Any]) -> None:
    same = encode(enriched_call(call=call)).event_id == encode(enriched_call(call=other)).event_id
    assert same == (orjson.dumps(call) == orjson.dumps(other))


@given(OBJECTS)
def test_the_call_stands_in_the_body_as_it_is(call: dict[str, Any]) -> None:
    assert orjson.loads(encode(enriched_call(call=call)).body)["call"] == call


def test_the_body_is_the_document_of_the_contract() -> None:
    body = orjson.loads(encode(enriched_call(call={"id": "x"}, complete=False, missing=["cost"], version=2)).body)
    assert list(body) == [
        *("schema", "account", "callId", "version", "complete", "missing", "outcome", "call", "provenance", "timeline")
    ]
    assert (body["schema"], body["version"], body["complete"], body["missing"]) == (
        "aftercall.call/1",
        2,
        False,
        ["cost"],
    )
    assert body["outcome"] == {"result": "completed", "reason": "customer-ended", "endedReason": "customer-ended-call"}
    assert list(body["provenance"]) == ["source", "fromWebhook", "redacted"]
    assert list(body["timeline"]) == ["endedAt", "receivedAt", "fetchedAt", "emittedAt", "attempts"]


def test_a_call_nested_deeper_than_orjson_writes_is_encoded_all_the_same() -> None:
    nested = orjson.loads(b'{"x": ' * 400 + b'"\xc3\xa9"' + b"}" * 400)
    assert orjson.loads(encode(enriched_call(call=nested)).body)["call"] == nested


@pytest.mark.parametrize(("version", "event"), [(1, "call.enriched"), (2, "call.amended"), (7, "call.amended")])
def test_the_message_of_an_enriched_call_is_an_event_on_its_routing_key(version: int, event: str) -> None:
    enriched = enriched_call(version=version, account="acme")
    message = emission(enriched, source="sweep", emitted_at=RECEIVED_AT, trace={"traceparent": TRACEPARENT})
    assert message.exchange == "calls"
    assert message.routing_key == f"{event}.acme.completed.customer-ended"
    assert (message.type, message.call_id, message.content_type) == (event, CALL_ID, "application/json")
    assert message.content_encoding is None
    assert message.body == encode(enriched).body
    assert message.headers == {
        "ce-specversion": "1.0",
        "ce-id": encode(enriched).event_id,
        "ce-type": event,
        "ce-source": "/accounts/acme",
        "ce-subject": CALL_ID,
        "ce-time": "2026-08-31T17:06:00.477Z",
        "x-aftercall-account": "acme",
        "x-aftercall-source": "sweep",
        "x-aftercall-received-at": "2026-08-31T17:06:00.477Z",
        "x-aftercall-attempt": 1,
        "x-aftercall-version": version,
        "traceparent": TRACEPARENT,
    }


def test_however_often_a_call_was_fetched_it_is_its_subscribers_first_attempt() -> None:
    late = enriched_call(
        timeline=dict.fromkeys(("endedAt", "receivedAt", "fetchedAt", "emittedAt"), "x") | {"attempts": 7}
    )
    message = emission(late, source="webhook", emitted_at=RECEIVED_AT, trace={})
    assert message.headers["x-aftercall-attempt"] == 1


def test_a_call_over_one_mebibyte_travels_gzipped_under_the_id_of_its_content() -> None:
    enriched = enriched_call(call={"transcript": "x" * 2**20})
    message = emission(enriched, source="webhook", emitted_at=RECEIVED_AT, trace={})
    assert message.content_encoding == "gzip"
    document = orjson.loads(gzip.decompress(message.body))
    assert document["call"] == {"transcript": "x" * 2**20}
    assert message.headers["ce-id"].endswith(digits_of(document))
