"""Headers: of an event, and of a message's journey."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.messages import (
    Journey,
    event_headers,
    journey_of,
)
from consumers.timestamps import iso
from tests.unit.builders import RECEIVED_AT, delivery

NOW = RECEIVED_AT + 60
ANY_HEADER = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats() | st.lists(st.integers())


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
