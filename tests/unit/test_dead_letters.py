"""What a dead letter tells of itself, and how letters are grouped and chosen."""

import re
from contextlib import suppress
from datetime import UTC
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.dead_letters import Group, Groups, Letter, Wanted, letter_of, queue_named, row_of
from consumers.replays import Destination, NoWayBack, destination_of, note_of, replay_of
from consumers.timestamps import iso
from tests.unit.letters import CALL_ID, DEATH, DIED_AT, EXPIRY, QUEUE, STORY, dead, lying, read

# What a letter tells


def test_our_own_story_is_told_as_the_design_says() -> None:
    letter = read()
    assert row_of(letter) == {
        "id": letter.id,
        "queue": QUEUE,
        "reason": "rejected",
        "callId": CALL_ID,
        "account": "acme",
        "attempts": 4,
        "diedAt": iso(DIED_AT),
    }
    assert (letter.lies_in, letter.error_type) == (f"{QUEUE}.dead", "Reject")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"x-death": [DEATH]}, "delivery-limit"),
        ({"x-death": [EXPIRY, DEATH], "x-first-death-reason": "expired"}, "delivery-limit"),
        ({"x-death": [DEATH | {"reason": b"delivery_limit", "queue": QUEUE.encode()}]}, "delivery-limit"),
        ({"x-first-death-reason": "delivery_limit", "x-first-death-queue": QUEUE}, "delivery-limit"),
        ({"x-death": [DEATH | {"reason": "rejected"}]}, "rejected"),
        ({"x-death": [DEATH | {"reason": "maxlen"}]}, "error"),
        ({}, "error"),
        ({"x-death": "rubbish", "x-aftercall-reason": 7}, "error"),
    ],
)
def test_what_the_broker_put_there_has_the_brokers_reason(headers: dict[str, Any], reason: str) -> None:
    letter = read(lying(headers=headers))
    assert (letter.queue, letter.reason, letter.attempts, letter.account) == (QUEUE, reason, 1, "acme")


def test_the_broker_tells_when_it_put_a_letter_there() -> None:
    assert read(lying(headers={"x-death": [DEATH]})).died_at == DIED_AT
    assert read(lying(headers={}, published_at=5.0)).died_at == 5.0
    assert row_of(read(lying(headers={})))["diedAt"] is None


def test_a_previous_story_is_not_taken_for_the_present_one() -> None:
    """A letter that was replayed, and then killed its worker until the broker put it aside."""
    replayed = replay_of(read(), lying(), Destination("calls.requeue", QUEUE))
    letter = read(lying(headers=dict(replayed.headers) | {"x-death": [DEATH]}))
    assert (letter.reason, letter.attempts) == ("delivery-limit", 1)


def test_what_nobody_took_tells_where_it_was_to_go() -> None:
    letter = read(lying("calls.unrouted", headers={}), exchange="calls", routing_key="call.ended.gone")
    assert (letter.queue, letter.reason) == ("calls.unrouted", "unrouted")
    assert letter.detail == "no queue took call.ended.gone at exchange calls"


@pytest.mark.parametrize("account", ["a.b", "x" * 41, "", "Ünï", 7])
def test_an_account_that_is_none_cannot_end_in_a_routing_key(account: Any) -> None:
    letter = read(lying("calls.crm.dead", headers={"x-aftercall-account": account}))
    assert re.fullmatch("[a-z0-9-]{1,40}", letter.account)


def test_a_call_without_a_correlation_id_is_known_by_its_subject() -> None:
    assert read(lying(headers=STORY | {"ce-subject": "call-2"}, call_id="")).call_id == "call-2"
    assert row_of(read(lying(call_id="two words")))["callId"] is None


# Ids


def test_an_id_is_the_same_each_time_and_can_be_typed() -> None:
    seen = read(lying(headers=STORY | {"x-delivery-count": 3}))
    assert seen.id == read().id
    assert re.fullmatch("[0-9a-f]{12}", seen.id)


def test_ids_differ_by_message_and_by_the_queue_it_lies_in() -> None:
    """One publish may lie dead in the queues of two subscribers."""
    nameless = [read(lying(body=body), message_id="") for body in (b"1", b"2")]
    letters = [read(), read(message_id="m-2"), read(lying("calls.crm.dead")), *nameless]
    assert len({letter.id for letter in letters}) == 5
    assert read(lying(body=b"1"), message_id="").id == nameless[0].id


HEADERS = st.dictionaries(
    st.sampled_from([*STORY, "x-death", "x-first-death-reason", "x-first-death-queue", "ce-subject", "other"]),
    st.none()
    | st.text()
    | st.binary()
    | st.integers(-(2**31), 2**31)
    | st.booleans()
    | st.datetimes(timezones=st.just(UTC))
    | st.lists(st.dictionaries(st.sampled_from(["reason", "queue", "time", "count"]), st.text() | st.binary())),
)


@given(
    headers=HEADERS,
    lies_in=st.sampled_from([f"{QUEUE}.dead", "calls.webhook.dead", "calls.unrouted", "calls.crm.dead", "spool"]),
    exchange=st.sampled_from(["calls", "calls.dead", "calls.requeue", "calls.unrouted", "", "other"]),
    key=st.text(max_size=20),
    call_id=st.text(max_size=20),
    to=st.sampled_from(["", "calls.crm"]),
)
def test_any_message_can_be_read_grouped_and_replayed(  # each is a part of a message
    headers: dict[str, Any], lies_in: str, exchange: str, key: str, call_id: str, to: str
) -> None:
    delivery = lying(lies_in, headers, call_id=call_id)
    letter = letter_of(delivery, exchange=exchange, routing_key=key)
    groups = Groups()
    groups.add(letter)
    msgspec.json.encode([row_of(letter), groups.sorted()[0].row()])
    assert Wanted().fits(letter)
    assert len(note_of("discarded", letter, DIED_AT).routing_key.encode()) < 256
    with suppress(NoWayBack):
        message = replay_of(letter, delivery, destination_of(letter, to))
        assert (message.body, message.content_encoding) == (delivery.body, delivery.content_encoding)
        assert not any(header.startswith(("x-death", "x-first-death-")) for header in message.headers)


# Groups


def grouped(*letters: Letter) -> list[Group]:
    groups = Groups()
    for letter in letters:
        groups.add(letter)
    return groups.sorted()


def test_letters_of_one_cause_are_one_group_whatever_values_they_quote() -> None:
    letters = [
        dead(id=f"id-{at}", detail=f"no such thing as 'x{at}' in line {at}", died_at=DIED_AT + at) for at in (5, 1, 9)
    ]
    (group,) = grouped(*letters)
    assert group.error == "Reject: no such thing as … in line …"
    assert group.row() == {
        "queue": QUEUE,
        "reason": "rejected",
        "count": 3,
        "first": iso(DIED_AT + 1),
        "last": iso(DIED_AT + 9),
        "example": "id-1",
    }


def test_a_group_is_of_one_queue_one_reason_and_one_error_and_the_largest_comes_first() -> None:
    letters = [dead(), dead(queue="calls.crm"), dead(reason="gave-up"), dead(detail="another"), dead()]
    assert [group.count for group in grouped(*letters)] == [2, 1, 1, 1]


def test_a_bug_is_known_by_the_last_line_of_its_traceback() -> None:
    detail = 'Traceback (most recent call last):\n  File "a.py", line 7\nKeyError: 17\n'
    assert dead(reason="error", error_type="KeyError", detail=detail).error == "KeyError: …"


def test_letters_without_a_time_have_a_group_without_times() -> None:
    (group,) = grouped(dead(died_at=None), dead(died_at=None))
    assert (group.row()["first"], group.row()["last"], group.count) == (None, None, 2)


@given(st.lists(st.none() | st.floats(0, 2e9), min_size=1))
def test_a_group_spans_its_letters_in_any_order(times: list[float | None]) -> None:
    (group,) = grouped(*(dead(id=str(at), died_at=at) for at in times))
    known = [at for at in times if at is not None]
    assert (group.count, group.first, group.last) == (len(times), min(known, default=None), max(known, default=None))
    assert group.example == str(group.first)


# Which letters


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"ids": frozenset(["other"])}, False),
        ({"queues": frozenset([QUEUE, "calls.crm"])}, True),
        ({"queues": frozenset(["calls.crm"])}, False),
        ({"reasons": frozenset(["rejected"]), "accounts": frozenset(["acme"])}, True),
        ({"reasons": frozenset(["rejected"]), "accounts": frozenset(["default"])}, False),
        ({"call_ids": frozenset([CALL_ID])}, True),
        ({"since": DIED_AT}, True),
        ({"since": DIED_AT + 1}, False),
        ({"until": DIED_AT}, True),
        ({"until": DIED_AT - 1}, False),
        ({"since": DIED_AT - 1, "until": DIED_AT + 1}, True),
    ],
)
def test_a_letter_fits_if_it_fits_all_that_is_asked(wanted: dict[str, Any], fits: bool) -> None:
    assert Wanted(**wanted).fits(read()) is fits


def test_a_letter_that_tells_no_time_fits_no_age() -> None:
    assert not Wanted(since=0).fits(dead(died_at=None))
    assert not Wanted(until=2e9).fits(dead(died_at=None))


@pytest.mark.parametrize("name", ["crm", "calls.crm", "calls.crm.dead", "crm.dead"])
def test_a_queue_may_be_named_in_short(name: str) -> None:
    assert queue_named(name) == "calls.crm"


def test_the_spool_is_named_as_it_is() -> None:
    assert queue_named("spool") == "spool"
