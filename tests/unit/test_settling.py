import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.messages import Delivery, Message, journey_of
from consumers.outcomes import Hold, Later, Reject, Retry, TooLarge, Undecodable
from consumers.settling import DETAIL_MAX, Schedule, Settlement, settle, tier_name
from consumers.timestamps import iso
from tests.unit.builders import CALL_ID, RECEIVED_AT, delivery

TIERS = (5, 30, 120, 600, 3600, 21600)
GIVE_UP_AFTER_S = 90_000
QUIET = Schedule(TIERS, GIVE_UP_AFTER_S, notes=False)
NOTING = Schedule(TIERS, GIVE_UP_AFTER_S)
NOW = RECEIVED_AT + 0.5
WAITS = ("calls.retry.5s", "calls.retry.30s", "calls.retry.2m", "calls.retry.10m", "calls.retry.1h", "calls.retry.6h")
FIRST = Message(
    exchange="calls", routing_key="call.enriched.default.completed.voicemail", body=b"{}", type="call.enriched"
)
BODY = b'{"message": "\xff\\ud83d'


class MyReject(Reject):
    pass


class MyUndecodable(Undecodable):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def came(attempt: int = 1, age_s: float = 0, **changes: Any) -> Delivery:
    """A delivery whose first attempt was `age_s` before NOW."""
    headers = {
        "x-aftercall-account": "default",
        "x-aftercall-attempt": attempt,
        "x-aftercall-first-attempt-at": iso(NOW - age_s),
        "x-aftercall-received-at": iso(RECEIVED_AT),
        **changes.pop("headers", {}),
    }
    return delivery(changes.pop("body", BODY), headers, **changes)


def settled(said: Any, of: Delivery | None = None, schedule: Schedule = QUIET, now: float = NOW) -> Settlement:
    return settle(of or came(), said, schedule=schedule, now=now)


def only(settlement: Settlement) -> Message:
    (message,) = settlement.messages
    return message


def exchange(said: Any, of: Delivery | None = None) -> str:
    return only(settled(said, of)).exchange


def raised(error: Exception) -> Exception:
    """`error` with a traceback, as a consumer's has one."""
    try:
        raise error
    except type(error) as caught:  # it is the one just raised
        return caught


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


# Which tier


@pytest.mark.parametrize(("attempt", "wait"), [*enumerate(WAITS, start=1), (7, WAITS[5]), (50, WAITS[5])])
def test_a_retry_waits_by_its_attempt(attempt: int, wait: str) -> None:
    assert exchange(Retry("later"), came(attempt)) == wait


@pytest.mark.parametrize(
    ("after", "wait"),
    [
        (0, "calls.retry.5s"),
        (-3, "calls.retry.5s"),
        (5, "calls.retry.5s"),
        (5.01, "calls.retry.30s"),
        (31, "calls.retry.2m"),
        (3601, "calls.retry.6h"),
        (99_999, "calls.retry.6h"),
        (float("inf"), "calls.retry.6h"),
        (float("nan"), "calls.retry.5s"),
    ],
)
def test_a_wait_that_is_asked_for_rounds_up_to_a_tier(after: float, wait: str) -> None:
    assert exchange(Retry("later", after=after), came(attempt=6)) == wait
    assert exchange(Hold("down", after=after)) == wait


@pytest.mark.parametrize(
    ("left_s", "wait"),
    [
        (21600, "calls.retry.6h"),
        (21599, "calls.retry.1h"),
        (899, "calls.retry.10m"),
        (600, "calls.retry.10m"),
        (599.9, "calls.retry.2m"),
        (31, "calls.retry.30s"),
        (29, "calls.retry.5s"),
        (1, "calls.retry.5s"),
        (0, "calls.retry.5s"),
        (-0.01, "calls.retry.5s"),
    ],
)
def test_no_wait_goes_past_the_next_due_moment_and_is_rounded_down_for_it(left_s: float, wait: str) -> None:
    """A moment that passes between deciding and settling is as due as one to come."""
    due_at = NOW + left_s
    assert exchange(Retry("later", due_at=due_at), came(attempt=6)) == wait
    assert exchange(Retry("later", after=21600, due_at=due_at)) == wait
    assert exchange(Hold("down", due_at=due_at), came(age_s=30_000)) == wait


def test_a_due_moment_lengthens_no_wait() -> None:
    assert exchange(Retry("later", due_at=NOW + 9999), came(attempt=2)) == "calls.retry.30s"


@pytest.mark.parametrize(
    ("left_s", "wait"), [(4000, "calls.retry.1h"), (700, "calls.retry.10m"), (2, "calls.retry.5s")]
)
def test_no_wait_goes_past_the_time_to_give_up(left_s: float, wait: str) -> None:
    of = came(attempt=6, age_s=GIVE_UP_AFTER_S - left_s)
    assert exchange(Retry("later"), of) == wait
    assert exchange(Hold("down"), of) == wait


@pytest.mark.parametrize(
    ("age_s", "wait"),
    [
        (0, "calls.retry.5s"),
        (29, "calls.retry.5s"),
        (30.1, "calls.retry.30s"),
        (119, "calls.retry.30s"),
        (3599, "calls.retry.10m"),
        (3601, "calls.retry.1h"),
        (30_000, "calls.retry.6h"),
        (500_000, "calls.retry.6h"),
    ],
)
def test_a_hold_waits_in_the_largest_tier_not_above_the_age(age_s: float, wait: str) -> None:
    assert exchange(Hold("down"), came(age_s=age_s)) == wait


def test_a_hold_that_asks_for_a_longer_wait_gets_it() -> None:
    assert exchange(Hold("down", after=100), came(age_s=40)) == "calls.retry.2m"
    assert exchange(Hold("down", after=1), came(age_s=700)) == "calls.retry.10m"


@pytest.mark.parametrize(
    ("wait_s", "name"),
    [(5, "5s"), (90, "90s"), (120, "2m"), (5400, "90m"), (3600, "1h"), (86400, "1d"), (172800, "2d"), (1, "1s")],
)
def test_a_tier_is_named_in_its_largest_whole_unit(wait_s: int, name: str) -> None:
    assert tier_name(wait_s) == name


@given(
    st.sets(st.integers(1, 10**6), min_size=1, max_size=8).map(lambda tiers: tuple(sorted(tiers))),
    st.integers(1, 20),
    st.none() | st.floats(0, 10**6),
    st.none() | st.floats(-10, 10**6),
    st.sampled_from([Retry, Hold]),
)
def test_a_wait_ends_before_what_is_due_unless_it_is_the_shortest_there_is(
    tiers: tuple[int, ...], attempt: int, after: float | None, left_s: float | None, kind: type[Later]
) -> None:
    said = kind("r", after=after, due_at=None if left_s is None else NOW + left_s)
    settlement = settle(came(attempt), said, schedule=Schedule(tiers, 10**5, notes=False), now=NOW)
    waits = {f"calls.retry.{tier_name(tier)}": tier for tier in tiers}
    wait_s = waits[only(settlement).exchange]
    left = min(10**5, 10**6 if left_s is None else left_s)
    assert wait_s <= left + 0.01 or wait_s == tiers[0]


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
