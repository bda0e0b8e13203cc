"""What becomes of a delivery by what its consumer said, how often it is tried and when that ends."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.messages import Message, journey_of
from consumers.outcomes import Hold, Later, Reject, Retry, TooLarge, Undecodable
from consumers.settling import Schedule, Settlement, settle
from consumers.timestamps import iso
from tests.unit.builders import delivery
from tests.unit.settlements import (
    FIRST,
    GIVE_UP_AFTER_S,
    NOTING,
    NOW,
    TIERS,
    WAITS,
    MyReject,
    Unspeakable,
    came,
    exchange,
    only,
    raised,
    settled,
)

# The table


def test_messages_are_published_in_their_order_and_the_delivery_is_acknowledged() -> None:
    other = Message(exchange="calls", routing_key="k", body=b"", type="t")
    assert settled((FIRST, other)) == Settlement("acked", (FIRST, other))


def test_a_consumer_with_nothing_to_say_is_done() -> None:
    assert settled((), schedule=NOTING) == Settlement("acked", ())


@pytest.mark.parametrize(
    ("said", "name", "goes_to"),
    [
        (Retry("later"), "retried", "calls.retry.5s"),
        (Hold("api down"), "held", "calls.retry.5s"),
        (Reject("no"), "dead_lettered", "calls.dead"),
        (Undecodable("garbage"), "dead_lettered", "calls.dead"),
        (TooLarge("16 MiB"), "dead_lettered", "calls.dead"),
        (ValueError("a bug"), "retried", "calls.retry.5s"),
        (Later("neither retry nor hold"), "retried", "calls.retry.5s"),
        (TimeoutError(), "retried", "calls.retry.5s"),
        (ExceptionGroup("several", [ValueError()]), "retried", "calls.retry.5s"),
    ],
)
def test_every_row_of_the_table(said: Exception, name: str, goes_to: str) -> None:
    settlement = settled(said)
    assert (settlement.name, only(settlement).exchange) == (name, goes_to)
    assert only(settlement).routing_key == "calls.enrich.default"


# What is counted


def test_a_retry_counts_as_an_attempt_and_a_hold_does_not() -> None:
    assert only(settled(Retry("later"), came(3))).headers["x-aftercall-attempt"] == 4
    assert only(settled(Hold("down"), came(3))).headers["x-aftercall-attempt"] == 3
    assert only(settled(ValueError("bug"), came(3))).headers["x-aftercall-attempt"] == 4
    assert only(settled(Reject("no"), came(3))).headers["x-aftercall-attempt"] == 3


def test_the_first_attempt_is_remembered_from_the_first() -> None:
    waiting = only(settled(Retry("later"), delivery()))
    assert waiting.headers["x-aftercall-first-attempt-at"] == iso(NOW)
    back = delivery(waiting.body, waiting.headers)
    again = only(settled(Retry("later"), back, now=NOW + 60))
    assert again.headers["x-aftercall-first-attempt-at"] == iso(NOW)
    assert journey_of(delivery(headers=again.headers), NOW + 90).attempt == 3


def test_the_last_error_travels_along() -> None:
    assert only(settled(Retry("cost missing"))).headers["x-aftercall-last-error"] == "cost missing"
    assert only(settled(ValueError("x"))).headers["x-aftercall-last-error"] == "ValueError: x"


# Giving up


def test_a_retry_at_the_time_to_give_up_is_a_dead_letter() -> None:
    settlement = settled(Retry("cost missing"), came(9, age_s=GIVE_UP_AFTER_S))
    assert (settlement.name, settlement.reason, settlement.detail) == ("dead_lettered", "gave-up", "cost missing")
    assert only(settlement).exchange == "calls.dead"


def test_a_retry_just_before_the_time_to_give_up_waits_once_more() -> None:
    assert settled(Retry("later"), came(9, age_s=GIVE_UP_AFTER_S - 1)).name == "retried"


def test_what_a_retry_had_to_say_first_is_said_even_if_it_comes_too_late_to_wait() -> None:
    said = Retry("later", first=(FIRST,), remember={"x-aftercall-version": 1})
    first, letter = settled(said, came(9, age_s=GIVE_UP_AFTER_S)).messages
    assert first == FIRST
    assert (letter.exchange, letter.headers["x-aftercall-version"]) == ("calls.dead", 1)


@pytest.mark.parametrize("age_s", [GIVE_UP_AFTER_S, GIVE_UP_AFTER_S * 9])
def test_a_hold_never_gives_up(age_s: float) -> None:
    settlement = settled(Hold("down"), came(2, age_s=age_s))
    assert (settlement.name, only(settlement).exchange) == ("held", "calls.retry.6h")


# Bugs


@pytest.mark.parametrize(("attempt", "wait"), [*enumerate(WAITS, start=1)])
def test_a_bug_is_tried_again_tier_by_tier(attempt: int, wait: str) -> None:
    assert exchange(ValueError("bug"), came(attempt)) == wait


def test_after_the_last_tier_a_bug_is_a_dead_letter_with_its_traceback() -> None:
    settlement = settled(raised(ZeroDivisionError("by zero")), came(7))
    headers = only(settlement).headers
    assert settlement.reason == "error"
    assert headers["x-aftercall-reason"] == "error"
    assert headers["x-aftercall-error-type"] == "ZeroDivisionError"
    assert headers["x-aftercall-detail"].startswith("Traceback (most recent call last):")
    assert headers["x-aftercall-detail"].endswith("ZeroDivisionError: by zero\n")


def test_a_bug_at_the_time_to_give_up_is_a_dead_letter() -> None:
    assert settled(ValueError("bug"), came(2, age_s=GIVE_UP_AFTER_S)).reason == "error"


@pytest.mark.parametrize("said", [None, [FIRST], [], "text", (b"bytes",), ((FIRST,),)])
def test_a_consumer_that_returns_no_messages_has_a_bug(said: Any) -> None:
    assert settled(said).name == "retried"
    letter = only(settled(said, came(7)))
    assert letter.headers["x-aftercall-error-type"] == "TypeError"
    assert "a tuple of messages" in letter.headers["x-aftercall-detail"]


@pytest.mark.parametrize("attempt", [1, 7])
@pytest.mark.parametrize("said", [Unspeakable(), ValueError("half \ud83d"), OSError("\udcff")])
def test_an_error_that_cannot_be_told_is_settled_all_the_same(said: Exception, attempt: int) -> None:
    for value in only(settled(said, came(attempt))).headers.values():
        assert str(value).encode()


# The rule above all


LATER_ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "after": st.none() | st.floats() | st.integers(-10, 10**9),
        "due_at": st.none() | st.floats(-(10**10), 10**11),
        "first": st.sampled_from([(), (FIRST,)]),
        "remember": st.dictionaries(st.sampled_from(["x-aftercall-version", "x-a"]), st.integers()),
    },
)
SAID = st.one_of(
    st.sampled_from([(), (FIRST,), (FIRST, FIRST)]),
    st.builds(
        lambda kind, reason, rest: kind(reason, **rest),
        st.sampled_from([Retry, Hold, Later]),
        st.text(st.characters()),
        LATER_ARGUMENTS,
    ),
    st.builds(
        lambda kind, text: kind(text),
        st.sampled_from([Reject, Undecodable, TooLarge, MyReject, ValueError, KeyError]),
        st.text(st.characters()),
    ),
    st.builds(Unspeakable),
    st.sampled_from([None, [], "text"]),
)
HEADERS = st.dictionaries(
    st.sampled_from(["attempt", "first-attempt-at", "received-at", "version"]).map(lambda name: f"x-aftercall-{name}")
    | st.just("x-death"),
    st.none() | st.integers(-5, 2**40) | st.text(max_size=5) | st.datetimes().map(lambda moment: moment.isoformat()),
)


@given(SAID, HEADERS, st.binary(), st.sampled_from([None, "gzip"]), st.booleans())
def test_whatever_a_consumer_says_its_messages_go_out_or_the_delivery_goes_on_whole(
    said: Any, headers: dict[str, Any], body: bytes, encoding: str | None, notes: bool
) -> None:
    of = delivery(body, copy.copy(headers), content_encoding=encoding, content_type="application/json")
    settlement = settle(of, said, schedule=Schedule(TIERS, GIVE_UP_AFTER_S, notes=notes), now=NOW)
    if settlement.name == "acked":
        assert settlement.messages == said
        return
    (copied,) = (message for message in settlement.messages if message.exchange != "calls")
    assert copied.exchange in {"dead_lettered": {"calls.dead"}}.get(settlement.name, set(WAITS))
    assert copied.routing_key == of.queue
    assert (copied.body, copied.content_encoding, copied.content_type) == (body, encoding, "application/json")
    assert (copied.call_id, copied.type) == (of.call_id, of.type)
    assert "x-death" not in copied.headers
    assert all(value.encode() is not None for value in copied.headers.values() if isinstance(value, str))
