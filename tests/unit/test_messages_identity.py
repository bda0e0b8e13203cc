"""Who a body is about."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.messages import (
    Identity,
    Unidentified,
    identify,
    identity_of,
)
from consumers.tolerant_json import parse
from tests.unit.builders import CALL_ID, JSON, SAMPLES, sample_bytes


def body_of(type_: Any, call: Any) -> bytes:
    return orjson.dumps({"message": {"type": type_, "call": call}})


@pytest.mark.parametrize("name", ["outbound-ended", "inbound-voicemail", "web", "pipeline-error"])
def test_a_report_is_identified_by_type_and_call(name: str) -> None:
    body = sample_bytes(f"end-of-call-report-{name}.json")
    identity = identify(body)
    assert identity == Identity("end-of-call-report", orjson.loads(body)["message"]["call"]["id"])


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("message-*.json")))
def test_every_other_server_message_is_identified_with_or_without_a_call(name: str) -> None:
    assert identify(sample_bytes(name)).type == orjson.loads(sample_bytes(name))["message"]["type"]


@given(JSON, JSON)
def test_the_fast_way_and_the_slow_way_see_the_same(type_: Any, call: Any) -> None:
    body = body_of(type_, call)
    try:
        identity = identify(body)
    except Unidentified as error:
        assert error.reason in ("no-type", "no-call-id")  # noqa: PT017  # one of two outcomes
    else:
        assert identity == identity_of(orjson.loads(body))


@given(st.binary(max_size=60))
def test_any_bytes_are_identified_or_told_why_not(body: bytes) -> None:
    try:
        assert identify(body).type
    except Unidentified as error:
        assert error.reason in ("undecodable", "no-type", "no-call-id")  # noqa: PT017  # one of two outcomes


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "undecodable"),
        (b"not json", "undecodable"),
        (b'{"message": ', "undecodable"),
        (b"[" * 100_000, "undecodable"),
        (b"[]", "no-type"),
        (b"null", "no-type"),
        (b"{}", "no-type"),
        (b'{"message": null}', "no-type"),
        (b'{"message": []}', "no-type"),
        (b'{"message": {"type": ""}}', "no-type"),
        (b'{"message": {"type": 7}}', "no-type"),
        (b'{"type": "end-of-call-report"}', "no-type"),
        (body_of("end-of-call-report", None), "no-call-id"),
        (body_of("end-of-call-report", {}), "no-call-id"),
        (body_of("end-of-call-report", {"id": None}), "no-call-id"),
        (body_of("end-of-call-report", {"id": ""}), "no-call-id"),
        (body_of("end-of-call-report", {"id": 12}), "no-call-id"),
        (body_of("end-of-call-report", [CALL_ID]), "no-call-id"),
        (body_of("end-of-call-report", {"id": "a b"}), "no-call-id"),
        (body_of("end-of-call-report", {"id": "a\n"}), "no-call-id"),
        (body_of("end-of-call-report", {"id": "é"}), "no-call-id"),
        (body_of("end-of-call-report", {"id": "x" * 129}), "no-call-id"),
    ],
)
def test_a_body_that_names_no_call_is_told_by_a_reason_of_the_contract(body: bytes, reason: str) -> None:
    with pytest.raises(Unidentified) as caught:
        identify(body)
    assert caught.value.reason == reason
    assert caught.value.detail


@pytest.mark.parametrize("call_id", ["x", "x" * 128, CALL_ID, "~!/%"])
def test_a_call_id_is_1_to_128_printable_characters(call_id: str) -> None:
    assert identify(body_of("end-of-call-report", {"id": call_id})).call_id == call_id


@pytest.mark.parametrize("odd", [b'"\\ud83d"', b'"\xff"', b"NaN", b"1e999"])
def test_a_report_is_identified_though_something_in_it_is_odd(odd: bytes) -> None:
    body = b'{"message": {"type": "end-of-call-report", "call": {"id": "c"}, "x": %b}}' % odd
    assert identify(body) == Identity("end-of-call-report", "c")


@pytest.mark.parametrize(
    "body",
    [
        b'{"message": {"type": "a"}, "message": {"type": "b"}}',
        b'{"message": {"type": "a", "call": {"id": "1"}, "call": {"id": "2"}}}',
        b'{"message": {"type": "a", "call": {"id": "1"}, "call": null}}',
        b'{"\\u006dessage": {"t\\u0079pe": "a", "call": {"\\u0069d": "1"}}}',
        b'\xef\xbb\xbf{"message": {"type": "a"}}',
    ],
)
def test_the_endpoint_and_the_enricher_read_odd_json_alike(body: bytes) -> None:
    assert identify(body) == identity_of(parse(body))


def test_a_call_that_is_no_object_is_no_obstacle_where_none_is_needed() -> None:
    assert identify(body_of("status-update", "odd")) == Identity("status-update", "")
