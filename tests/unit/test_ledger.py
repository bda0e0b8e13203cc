import gzip
import traceback
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumers.ledger import (
    ID_MAX,
    KINDS,
    TEXT_MAX,
    WHOLE_MAX,
    Event,
    Kind,
    read_event,
)
from consumers.messages import Delivery
from consumers.outcomes import Retry, Undecodable
from consumers.quoting import place_of
from consumers.settling import settle
from consumers.timestamps import instant, iso
from tests.unit.builders import CALL_ID, JSON, OBJECTS, delivery, enriched_call
from tests.unit.ledger_messages import AT, NOW, SCHEDULE, delivered, emitted, told, undecodable

# Enriched and amended calls


def test_an_enriched_call_becomes_an_event() -> None:
    message = emitted(enriched_call(complete=False, missing=["cost", "recording"]), source="sweep")

    assert read_event(delivered(message), NOW) == Event(
        account="default",
        call_id=CALL_ID,
        kind="enriched",
        at=AT,
        event_id=message.headers["ce-id"],
        source="sweep",
        attempt=1,
        version=1,
        complete=False,
        missing=("cost", "recording"),
        result="completed",
        reason="customer-ended",
        ended_reason="customer-ended-call",
        joined_from="api",
        received_at=instant("2026-08-31T17:06:00.477Z"),
        ended_at=instant("2026-08-31T17:05:55.477Z"),
        fetched_at=instant("2026-08-31T17:06:01.000Z"),
        emitted_at=instant("2026-08-31T17:06:01.000Z"),
        body_bytes=len(message.body),
    )


def test_a_later_version_is_amended() -> None:
    event = read_event(delivered(emitted(enriched_call(version=3))), NOW)

    assert (event.kind, event.version) == ("amended", 3)


def test_a_large_call_is_unzipped_and_its_size_is_that_on_the_way() -> None:
    message = emitted(enriched_call(call={"id": CALL_ID, "artifact": {"transcript": "a" * 2**20}}))
    assert message.content_encoding == "gzip"

    event = read_event(delivered(message), NOW)

    assert (event.call_id, event.body_bytes) == (CALL_ID, len(message.body))
    assert event.body_bytes < 2**20


def test_a_call_that_was_never_fetched_and_names_no_reason_is_an_event_too() -> None:
    outcome = {"result": "unknown", "reason": "unknown", "endedReason": None}
    timeline = msgspec.to_builtins(enriched_call().timeline) | {"fetchedAt": None}

    event = read_event(delivered(emitted(enriched_call(outcome=outcome, timeline=timeline))), NOW)

    assert (event.fetched_at, event.ended_reason, event.result) == (None, "", "unknown")


def test_the_attempt_is_the_one_that_succeeded_even_after_a_trip_through_a_tier() -> None:
    message = emitted()
    headers = {**message.headers, "x-aftercall-attempt": 7}

    assert read_event(delivered(message, headers=headers), NOW).attempt == 1


@given(call=OBJECTS)
def test_whatever_a_call_holds_nothing_of_it_is_in_the_event(call: dict[str, Any]) -> None:
    call["secret"] = "what the customer said"
    event = read_event(delivered(emitted(enriched_call(call=call))), NOW)

    assert "what the customer said" not in repr(event)
    empty = read_event(delivered(emitted(enriched_call(call={}))), NOW)
    assert event == replace(empty, event_id=event.event_id, body_bytes=event.body_bytes)


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"", None, "not JSON"),
        (b"{", None, "not JSON"),
        (b"[]", None, "not an enriched call: Expected `object`"),
        (b"{}", None, "not an enriched call: .*`account`"),
        (b"{}", "br", "not an enriched call: content_encoding 'br'"),
        (b"{}", "gzip", "not an enriched call: not gzip"),
        (gzip.compress(b"{", mtime=0), "gzip", "not JSON"),
        (emitted(enriched_call(version=-1)).body, None, r"\$\.version"),
        (emitted(enriched_call(version=2**40)).body, None, r"\$\.version"),
    ],
)
def test_a_body_that_is_no_enriched_call_is_undecodable(body: bytes, encoding: str | None, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        read_event(delivered(emitted(), body=body, content_encoding=encoding), NOW)


@given(document=JSON)
def test_any_other_document_is_undecodable_and_nothing_else(document: Any) -> None:
    assert undecodable(delivered(emitted(), body=orjson.dumps(document)))


# Notes


def test_a_note_of_a_retry_becomes_an_event() -> None:
    retry = Retry("not final yet: cost missing")
    late = delivery(headers={"x-aftercall-attempt": 2, "x-aftercall-first-attempt-at": iso(AT - 10)})
    (_, message) = settle(late, retry, schedule=SCHEDULE, now=AT).messages

    assert read_event(delivered(message), NOW) == Event(
        account="default",
        call_id=CALL_ID,
        kind="retried",
        at=AT,
        event_id=message.headers["ce-id"],
        queue="calls.enrich.default",
        detail="not final yet: cost missing",
        tier="30s",
        attempt=2,
        first_attempt_at=AT - 10,
        source="webhook",
        received_at=AT,
    )


def test_a_note_of_a_death_by_a_bug_tells_its_type_and_place_and_not_what_it_quotes() -> None:
    late = delivery(headers={"x-aftercall-attempt": 3})
    try:
        int("call +15035550167")
    except ValueError as error:
        (_, message) = settle(late, error, schedule=SCHEDULE, now=AT).messages

    event = read_event(delivered(message), NOW)

    assert (event.kind, event.letter_reason, event.attempt) == ("dead", "error", 3)
    assert event.detail.startswith("ValueError, test_ledger.py, line ")
    assert "+1503" not in repr(event)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_note_is_known(kind: Kind) -> None:
    assert read_event(delivered(told(kind)), NOW).kind == kind


def test_a_note_of_a_kind_from_the_future_is_undecodable_so_that_it_can_be_replayed() -> None:
    assert "older version" in undecodable(delivered(told("sung")))


def test_a_note_tells_where_a_replayed_letter_went() -> None:
    message = told("replayed", queue="calls.crm", reason="error", to="calls.crm", detail="Traceback …", attempt=4)

    event = read_event(delivered(message), NOW)

    assert (event.queue, event.to, event.letter_reason, event.attempt) == ("calls.crm", "calls.crm", "error", 4)


def test_a_note_about_no_call_is_an_event_without_a_call() -> None:
    event = read_event(delivered(told("asked", call_id="")), NOW)

    assert (event.kind, event.call_id, event.account) == ("asked", "", "default")


def test_a_call_id_with_slashes_does_not_confuse_a_note() -> None:
    event = read_event(delivered(told("swept", call_id="a/dead/b")), NOW)

    assert (event.kind, event.call_id) == ("swept", "a/dead/b")


def test_a_note_whose_correlation_id_is_lost_is_known_by_its_subject() -> None:
    assert read_event(delivered(told(), call_id=""), NOW).call_id == CALL_ID


def test_a_note_without_a_time_happened_now() -> None:
    message = told()
    headers = {key: value for key, value in message.headers.items() if key != "ce-time"}

    assert read_event(delivered(message, headers=headers), NOW).at == NOW


# What anyone can publish


@pytest.mark.parametrize("id_", [None, "", 7, b"x", "x" * (ID_MAX + 1)])
def test_an_event_without_an_id_is_undecodable(id_: Any) -> None:
    assert "ce-id" in undecodable(delivered(emitted(), headers={"ce-id": id_}))


@pytest.mark.parametrize("type_", ["", "call.ended", "call", "call.enriched.default"])
def test_a_message_of_another_type_is_undecodable(type_: str) -> None:
    assert "keeps call.enriched, call.amended and call.noted" in undecodable(
        delivered(emitted(), type=type_, headers={"ce-id": "x"})
    )


def test_a_message_whose_type_is_lost_is_known_by_its_header() -> None:
    assert read_event(delivered(emitted(), type=""), NOW).kind == "enriched"


HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("ce-id", "ce-type", "ce-time", "ce-subject", "x-aftercall-account", "x-aftercall-queue"),
            *("x-aftercall-reason", "x-aftercall-detail", "x-aftercall-attempt", "x-aftercall-first-attempt-at"),
        ]
    ),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.text()),
)


@given(
    body=st.binary() | JSON.map(orjson.dumps) | st.just(emitted().body),
    headers=HEADERS,
    type_=st.text() | st.sampled_from(["call.enriched", "call.amended", "call.noted"]),
    event_id=st.text() | st.sampled_from(KINDS).map("default/c/{}/1.5".format),
    call_id=st.text(),
)
def test_whatever_comes_is_an_event_that_any_database_takes_or_undecodable(
    body: bytes, headers: dict[str, Any], type_: str, event_id: str, call_id: str
) -> None:
    given = Delivery(
        queue="calls.ledger", body=body, headers={"ce-id": event_id} | headers, type=type_, call_id=call_id
    )
    try:
        event = read_event(given, NOW)
    except Undecodable:
        return
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str):
            assert len(value) <= TEXT_MAX
            assert "\0" not in value
            value.encode()
        elif isinstance(value, int):
            assert 0 <= value <= WHOLE_MAX
    assert msgspec.convert(msgspec.to_builtins(event), Event) == event


# Tracebacks


def test_the_place_of_an_error_is_the_innermost() -> None:
    try:
        try:
            orjson.loads(b"{")
        except ValueError as error:
            raise KeyError("a name") from error
    except KeyError as error:
        whole = "".join(traceback.format_exception(error))

    assert place_of(whole).startswith("KeyError, test_ledger.py, line ")
    assert place_of("TypeError: a message\n") == "TypeError"
    assert place_of('y", line 323, in call\n    raise KeyError("x")\nKeyError: x') == ""


@given(st.text())
def test_any_text_has_a_place_or_none(text: str) -> None:
    assert isinstance(place_of(text), str)
