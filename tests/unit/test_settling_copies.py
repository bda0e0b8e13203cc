"""What settling writes: dead letters, the message that comes again, and notes."""

import pytest

from consumers.messages import Delivery
from consumers.outcomes import Hold, Later, Reject, Retry, TooLarge, Undecodable
from consumers.settling import DETAIL_MAX
from consumers.timestamps import iso
from tests.unit.builders import CALL_ID, RECEIVED_AT
from tests.unit.settlements import FIRST, NOTING, NOW, QUIET, MyReject, MyUndecodable, came, only, settled

# Dead letters


@pytest.mark.parametrize(
    ("said", "reason", "error_type"),
    [
        (Undecodable("not JSON"), "undecodable", "Undecodable"),
        (MyUndecodable("not JSON"), "undecodable", "MyUndecodable"),
        (Reject("not JSON"), "rejected", "Reject"),
        (MyReject("not JSON"), "rejected", "MyReject"),
        (TooLarge("not JSON"), "too-large", "TooLarge"),
    ],
)
@pytest.mark.parametrize("attempt", [1, 4])
def test_what_can_never_be_handled_is_a_dead_letter_at_once(
    said: Exception, reason: str, error_type: str, attempt: int
) -> None:
    settlement = settled(said, came(attempt, age_s=60))
    letter = only(settlement)
    assert (settlement.name, settlement.reason, letter.exchange) == ("dead_lettered", reason, "calls.dead")
    assert letter.routing_key == "calls.enrich.default"
    assert letter.headers == {
        "x-aftercall-account": "default",
        "x-aftercall-queue": "calls.enrich.default",
        "x-aftercall-reason": reason,
        "x-aftercall-detail": "not JSON",
        "x-aftercall-error-type": error_type,
        "x-aftercall-attempt": attempt,
        "x-aftercall-received-at": iso(RECEIVED_AT),
        "x-aftercall-first-attempt-at": iso(NOW - 60),
        "x-aftercall-died-at": iso(NOW),
    }


def test_of_a_long_detail_the_end_is_kept() -> None:
    detail = only(settled(Reject("x" * DETAIL_MAX + "the end"))).headers["x-aftercall-detail"]
    assert len(detail) == DETAIL_MAX
    assert detail.endswith("the end")


# The message that comes again


@pytest.mark.parametrize("said", [Retry("r"), Hold("h"), Reject("no"), Undecodable("u"), ValueError("bug")])
def test_headers_are_kept_but_for_the_brokers(said: Exception) -> None:
    theirs = {"x-death": [{"count": 1}], "x-first-death-queue": "q", "x-last-death-reason": "expired"}
    theirs |= {"x-delivery-count": 4, "x-acquired-count": 5}
    kept = {"traceparent": "00-a-b-00", "ce-id": "default/c/ended", "x-someone-elses": 7}
    headers = only(settled(said, came(headers=theirs | kept))).headers
    assert headers.keys().isdisjoint(theirs)
    assert {key: headers[key] for key in kept} == kept


def test_what_is_to_be_remembered_is_written_beside_the_old_headers() -> None:
    waiting = only(settled(Retry("r", remember={"x-aftercall-version": 2}), came(headers={"x-aftercall-version": 1})))
    assert waiting.headers["x-aftercall-version"] == 2


def test_remembering_cannot_change_the_count_of_attempts() -> None:
    assert only(settled(Retry("r", remember={"x-aftercall-attempt": 99}))).headers["x-aftercall-attempt"] == 2


@pytest.mark.parametrize("kind", [Retry, Hold])
def test_what_goes_out_first_is_published_before_the_copy_that_remembers_it(kind: type[Later]) -> None:
    messages = settled(kind("r", first=(FIRST,)), schedule=NOTING).messages
    assert messages[0] == FIRST
    assert [message.exchange for message in messages] == ["calls", "calls.retry.5s", "calls"]


def test_a_delivery_without_headers_is_settled_like_a_first_attempt() -> None:
    bare = Delivery(queue="calls.crm", body=b"", published_at=RECEIVED_AT)
    waiting = only(settled(Retry("r"), bare))
    assert waiting.routing_key == "calls.crm"
    assert waiting.headers["x-aftercall-attempt"] == 2
    assert waiting.headers["x-aftercall-received-at"] == iso(RECEIVED_AT)


# Notes


@pytest.mark.parametrize(
    ("said", "what", "told"),
    [
        (Retry("cost missing"), "retried", {"x-aftercall-detail": "cost missing", "x-aftercall-tier": "5s"}),
        (Hold("down"), "held", {"x-aftercall-detail": "down", "x-aftercall-tier": "5s"}),
        (Reject("no"), "dead", {"x-aftercall-detail": "no", "x-aftercall-reason": "rejected"}),
    ],
)
def test_what_is_not_the_happy_path_is_noted_for_the_ledger(said: Exception, what: str, told: dict[str, str]) -> None:
    note = settled(said, schedule=NOTING).messages[-1]
    assert (note.exchange, note.routing_key, note.type) == ("calls", f"call.noted.default.{what}", "call.noted")
    assert (note.body, note.content_type, note.call_id) == (b"", None, CALL_ID)
    assert {key: note.headers[key] for key in told} == told
    assert note.headers["x-aftercall-queue"] == "calls.enrich.default"
    assert note.headers["x-aftercall-attempt"] == 1
    assert note.headers["ce-subject"] == CALL_ID


def test_without_a_ledger_nothing_is_noted() -> None:
    assert len(settled(Reject("no"), schedule=NOTING).messages) == 2
    assert len(settled(Reject("no"), schedule=QUIET).messages) == 1
