"""Where the replay of a dead letter goes, and what it publishes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.enriched import emission
from consumers.ledger import read_event
from consumers.messages import Delivery, Message
from consumers.outcomes import Hold, Reject, Retry, Undecodable
from consumers.replays import (
    Destination,
    NoWayBack,
    destination_of,
    note_of,
    note_of_call,
    replay_of,
    replay_of_call,
)
from consumers.settling import Schedule, settle
from consumers.timestamps import instant, iso
from tests.unit.builders import enriched_call
from tests.unit.letters import CALL_ID, DEATH, DIED_AT, QUEUE, STORY, dead, lying, read

# Where a replay goes


@pytest.mark.parametrize(
    ("letter", "to", "goes_to"),
    [
        ({}, "", ("calls.requeue", QUEUE)),
        ({}, "calls.crm", ("calls.requeue", "calls.crm")),
        ({"queue": "calls.webhook"}, QUEUE, ("calls.requeue", QUEUE)),
        (
            {"lies_in": "calls.unrouted", "exchange": "calls", "routing_key": "call.ended.x"},
            "",
            ("calls", "call.ended.x"),
        ),
        ({"lies_in": "spool", "exchange": "calls", "routing_key": "call.ended.x"}, "", ("calls", "call.ended.x")),
        ({"lies_in": "calls.unrouted", "exchange": "calls"}, "calls.crm", ("calls.requeue", "calls.crm")),
    ],
)
def test_a_replay_goes_back_to_where_the_letter_failed(
    letter: dict[str, str], to: str, goes_to: tuple[str, str]
) -> None:
    assert destination_of(dead(**letter), to) == Destination(*goes_to)


@pytest.mark.parametrize(
    "letter",
    [
        {"queue": "calls.webhook", "lies_in": "calls.webhook.dead"},
        {"queue": "calls.unrouted", "lies_in": "calls.unrouted", "exchange": "calls.unrouted"},
    ],
)
def test_what_was_never_in_a_consumers_queue_has_none_to_go_back_to(letter: dict[str, str]) -> None:
    with pytest.raises(NoWayBack, match=f"--queue {letter['queue']} --to calls.enrich.acme"):
        destination_of(dead(**letter))


# What a replay publishes


def replayed(delivery: Delivery, **changes: Any) -> Message:
    letter = read(delivery, **changes)
    return replay_of(letter, delivery, destination_of(letter))


def test_a_replay_keeps_the_message_and_begins_its_attempts_anew() -> None:
    delivery = lying(
        body=b"\x1f\x8b zipped", content_encoding="gzip", type="call.ended", content_type="application/json"
    )
    message = replayed(delivery)
    kept = ("body", "content_encoding", "content_type", "type", "call_id")
    assert [getattr(message, name) for name in kept] == [getattr(delivery, name) for name in kept]
    assert {name: message.headers[name] for name in ("ce-id", "x-aftercall-source", "x-aftercall-version")} == {
        "ce-id": STORY["ce-id"],
        "x-aftercall-source": "sweep",
        "x-aftercall-version": 2,
    }
    assert message.headers["x-aftercall-attempt"] == 1
    gone = {
        f"x-aftercall-{name}" for name in ("queue", "reason", "detail", "died-at", "first-attempt-at", "last-error")
    }
    assert gone.isdisjoint(message.headers)


def test_a_replay_remembers_the_story_as_history() -> None:
    names = ("queue", "reason", "detail", "error-type", "attempt", "first-attempt-at", "died-at", "last-error")
    headers = replayed(lying()).headers
    assert {name: headers[f"x-aftercall-previous-{name}"] for name in names} == {
        name: STORY[f"x-aftercall-{name}"] for name in names
    }


def test_a_second_replay_remembers_the_second_story_and_grows_no_further() -> None:
    again = dict(replayed(lying()).headers) | {"x-aftercall-reason": "gave-up", "x-aftercall-attempt": 9}
    headers = replayed(lying(headers=again)).headers
    assert (headers["x-aftercall-previous-reason"], headers["x-aftercall-previous-attempt"]) == ("gave-up", 9)
    assert "x-aftercall-previous-detail" not in headers, "that was told of the first death"


def test_a_letter_of_the_broker_is_replayed_with_its_reason_and_without_the_brokers_headers() -> None:
    headers = replayed(lying(headers={"x-death": [DEATH], "x-delivery-count": 9, "ce-id": "1"})).headers
    assert headers == {
        "ce-id": "1",
        "x-aftercall-attempt": 1,
        "x-aftercall-previous-queue": QUEUE,
        "x-aftercall-previous-reason": "delivery-limit",
        "x-aftercall-previous-died-at": iso(DIED_AT),
    }


def test_a_dead_letter_that_nobody_took_keeps_its_story_on_its_way_to_the_dead_letters() -> None:
    message = replayed(lying("calls.unrouted", STORY | {"x-delivery-count": 1}))
    assert (message.exchange, message.routing_key) == ("calls.dead", QUEUE)
    assert message.headers == STORY


@given(st.sampled_from([Reject("no"), Undecodable("rubbish"), Retry("later"), Hold("down"), ValueError("a bug")]))
def test_what_settling_makes_a_dead_letter_reads_as_one_and_comes_back_as_a_first_arrival(said: Exception) -> None:
    """The two ends of the contract: what `settle` writes and what is read here."""
    schedule = Schedule((5,), give_up_after_s=0, notes=False)
    settlement = settle(lying(QUEUE, {"x-aftercall-attempt": 3}), said, schedule=schedule, now=DIED_AT)
    (message,) = settlement.messages
    if settlement.name == "dead_lettered":
        delivery = lying(headers=dict(message.headers), body=message.body)
        letter = read(delivery)
        assert (letter.queue, letter.reason, letter.attempts) == (QUEUE, settlement.reason, 3)
        assert letter.died_at == instant(iso(DIED_AT))
        again = replay_of(letter, delivery, destination_of(letter))
        assert (again.routing_key, again.headers["x-aftercall-attempt"]) == (QUEUE, 1)


# Notes


def test_a_replay_and_a_discard_leave_notes_for_the_ledger() -> None:
    note = note_of("replayed", read(), DIED_AT, Destination("calls.requeue", "calls.crm"))
    assert (note.routing_key, note.call_id, note.body) == ("call.noted.acme.replayed", CALL_ID, b"")
    told = {name: note.headers[f"x-aftercall-{name}"] for name in ("queue", "reason", "attempt", "to")}
    assert told == {"queue": QUEUE, "reason": "rejected", "attempt": 4, "to": "calls.crm"}
    assert note_of("discarded", read(), DIED_AT).routing_key == "call.noted.acme.discarded"


# Archived calls


def test_an_archived_call_goes_to_one_queue_as_it_was_emitted_but_as_an_event_of_the_run() -> None:
    call = enriched_call(version=3)
    emitted = emission(call, source="webhook", emitted_at=DIED_AT, trace={})

    again = replay_of_call(call, "calls.crm", "run7", DIED_AT + 60, {"traceparent": "00-1"})

    assert (again.exchange, again.routing_key) == ("calls.requeue", "calls.crm")
    assert (again.body, again.type, again.call_id) == (emitted.body, "call.amended", emitted.call_id)
    changed = {key: value for key, value in again.headers.items() if value != emitted.headers.get(key)}
    assert changed == {
        "ce-id": f"{emitted.headers['ce-id']}/replay/run7",
        "ce-time": iso(DIED_AT + 60),
        "x-aftercall-source": "replay",
        "traceparent": "00-1",
    }


def test_the_ledger_reads_the_note_of_an_archived_replay() -> None:
    told = note_of_call(enriched_call(), "calls.crm", "run7", DIED_AT)

    event = read_event(Delivery(queue="calls.ledger", body=told.body, headers=told.headers, type=told.type), DIED_AT)

    assert (event.kind, event.queue, event.to, event.source) == ("replayed", "calls.crm", "calls.crm", "replay")
    assert event.detail == "run run7"
