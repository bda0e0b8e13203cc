import gzip
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.messages import (
    GZIP_ABOVE_BYTES,
    UNPACKED_MAX_BYTES,
    Identity,
    Journey,
    Unidentified,
    event_headers,
    identify,
    identity_of,
    journey_of,
    pack,
    unpack,
)
from consumers.timestamps import instant, instant_of_epoch, iso
from consumers.tolerant_json import parse
from tests.unit.builders import CALL_ID, JSON, RECEIVED_AT, SAMPLES, delivery, sample_bytes

NOW = RECEIVED_AT + 60
ANY_HEADER = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats() | st.lists(st.integers())


def body_of(type_: Any, call: Any) -> bytes:
    return orjson.dumps({"message": {"type": type_, "call": call}})


# Who a body is about


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


# Bodies on their way


@pytest.mark.parametrize("size", [0, 1, GZIP_ABOVE_BYTES])
def test_a_body_up_to_one_mebibyte_travels_as_it_is(size: int) -> None:
    assert pack(b"x" * size) == (b"x" * size, None)


def test_a_larger_body_travels_gzipped_and_comes_out_the_same() -> None:
    body = b"\xff{" * GZIP_ABOVE_BYTES
    packed, encoding = pack(body)
    assert encoding == "gzip"
    assert len(packed) < len(body) / 100
    assert gzip.decompress(packed) == body
    assert unpack(delivery(packed, content_encoding=encoding)) == body


def test_a_body_is_packed_to_the_same_bytes_each_time() -> None:
    """A time in the header would make other bytes of the same body a second later."""
    packed, _ = pack(b"call" * GZIP_ABOVE_BYTES)
    assert packed[:8] == b"\x1f\x8b\x08\x00" + bytes(4)


@given(st.binary())
def test_whoever_gzips_a_small_body_is_read_too(body: bytes) -> None:
    assert unpack(delivery(gzip.compress(body), content_encoding="gzip")) == body


@pytest.mark.parametrize("encoding", [None, "", "identity"])
def test_a_body_without_an_encoding_is_left_alone(encoding: str | None) -> None:
    assert unpack(delivery(b"\x1f\x8b", content_encoding=encoding)) == b"\x1f\x8b"


@pytest.mark.parametrize("encoding", ["br", "deflate", "GZIP ", "gzip, gzip"])
def test_another_encoding_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(ValueError, match=encoding):
        unpack(delivery(content_encoding=encoding))


@pytest.mark.parametrize("cut", [1, 4, 8, 20])
def test_a_gzip_that_was_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        unpack(delivery(gzip.compress(b"a call " * 99)[:-cut], content_encoding="gzip"))


@pytest.mark.parametrize("body", [b"", b"{}", b"\x1f\x8b\x08garbage", zlib.compress(b"{}")])
def test_what_is_no_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"not gzip|cut off"):
        unpack(delivery(body, content_encoding="gzip"))


def test_a_gzip_whose_checksum_is_wrong_is_refused() -> None:
    body = bytearray(gzip.compress(b"a call"))
    body[-6] ^= 1
    with pytest.raises(ValueError, match="not gzip"):
        unpack(delivery(bytes(body), content_encoding="gzip"))


def test_a_gzip_bomb_is_refused_at_the_limit() -> None:
    squeezer = zlib.compressobj(level=1, wbits=31)
    bomb = b"".join(squeezer.compress(bytes(2**24)) for _ in range(UNPACKED_MAX_BYTES // 2**24 + 1)) + squeezer.flush()
    assert len(bomb) < 2**21
    with pytest.raises(ValueError, match=f"larger than {UNPACKED_MAX_BYTES}"):
        unpack(delivery(bomb, content_encoding="gzip"))


# Headers


def test_the_headers_of_an_event_are_cloudevents_in_binary_mode_and_ours() -> None:
    assert event_headers(type_="call.ended", id_="i", account="acme", call_id="c", at=RECEIVED_AT) == {
        "ce-specversion": "1.0",
        "ce-id": "i",
        "ce-type": "call.ended",
        "ce-source": "/accounts/acme",
        "ce-subject": "c",
        "ce-time": "2026-08-31T17:06:00.477Z",
        "x-aftercall-account": "acme",
    }


def test_an_event_about_no_call_has_no_subject() -> None:
    assert "ce-subject" not in event_headers(type_="t", id_="i", account="a", call_id="", at=1.0)


@pytest.mark.parametrize(
    ("queue", "headers", "account"),
    [
        ("calls.enrich.acme-dental", {}, "acme-dental"),
        ("calls.enrich.acme-dental", {"x-aftercall-account": "other"}, "acme-dental"),
        ("calls.crm", {"x-aftercall-account": "acme"}, "acme"),
        ("calls.crm", {}, "default"),
    ],
)
def test_the_queue_of_an_account_tells_whose_a_delivery_is_and_elsewhere_its_header(
    queue: str, headers: dict[str, Any], account: str
) -> None:
    assert delivery(queue=queue, headers=headers).account == account


def test_the_headers_of_the_broker_are_not_kept() -> None:
    ours = {"x-aftercall-attempt": 3, "traceparent": "t", "x-custom": "kept", "death": 1}
    brokers = ("x-death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count")
    assert delivery(headers=ours | dict.fromkeys(brokers, 1)).kept_headers() == ours


def test_a_first_arrival_has_the_journey_of_one_that_sets_out_now() -> None:
    assert journey_of(delivery(published_at=NOW - 3), NOW) == Journey(
        source="webhook",
        received_at=NOW - 3,
        attempt=1,
        first_attempt_at=NOW,
        version=0,
        emitted="",
        missing=(),
    )


def test_the_headers_tell_the_journey() -> None:
    headers = {
        "x-aftercall-source": "sweep",
        "x-aftercall-received-at": iso(RECEIVED_AT),
        "x-aftercall-attempt": 4,
        "x-aftercall-first-attempt-at": iso(RECEIVED_AT + 1),
        "x-aftercall-version": 2,
        "x-aftercall-emitted": "default/c/0011223344556677",
        "x-aftercall-missing": "cost,recording",
    }
    assert journey_of(delivery(headers=headers), NOW) == Journey(
        source="sweep",
        received_at=pytest.approx(RECEIVED_AT, abs=0.001),
        attempt=4,
        first_attempt_at=pytest.approx(RECEIVED_AT + 1, abs=0.001),
        version=2,
        emitted="default/c/0011223344556677",
        missing=("cost", "recording"),
    )


@given(
    st.dictionaries(
        st.sampled_from(
            [f"x-aftercall-{name}" for name in (*Journey.__struct_fields__, "received-at", "first-attempt-at")]
        ),
        ANY_HEADER,
    )
)
def test_headers_that_make_no_sense_are_as_if_absent(headers: dict[str, Any]) -> None:
    journey = journey_of(delivery(headers=headers), NOW)
    assert journey.attempt >= 1
    assert journey.version >= 0
    assert journey.first_attempt_at <= NOW
    assert iso(journey.received_at)


@pytest.mark.parametrize("attempt", [0, -1, True, "3", None, 2.0, b"2"])
def test_an_attempt_that_is_no_number_from_1_is_the_first(attempt: Any) -> None:
    assert journey_of(delivery(headers={"x-aftercall-attempt": attempt}), NOW).attempt == 1


def test_a_first_attempt_in_the_future_is_now_so_that_giving_up_is_never_put_off() -> None:
    headers = {"x-aftercall-first-attempt-at": iso(NOW + 9999)}
    assert journey_of(delivery(headers=headers), NOW).first_attempt_at == NOW


# Instants


@given(st.datetimes().map(lambda moment: moment.isoformat()) | st.text())
def test_an_instant_that_is_read_can_be_written(text: str) -> None:
    moment = instant(text)
    assert moment is None or iso(moment).endswith("Z")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-08-31T17:05:55.477Z", 1788195955.477),
        ("2026-08-31T17:05:55.477", 1788195955.477),
        ("2026-08-31T19:05:55.477+02:00", 1788195955.477),
        ("2026-08-31", 1788134400.0),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1788195955, None),
    ],
)
def test_an_instant_is_an_iso_8601_text_and_without_a_zone_it_is_utc(text: Any, moment: float | None) -> None:
    assert instant(text) == moment


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1788195955, 1788195955.0),
        (1788195955477, 1788195955.477),
        (1788195955.5, 1788195955.5),
        (0, None),
        (-1, None),
        (True, None),
        ("1788195955", None),
        (None, None),
    ],
)
def test_the_time_of_a_message_is_in_seconds_or_milliseconds(value: Any, moment: float | None) -> None:
    assert instant_of_epoch(value) == moment
