from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.dead_letters import Letter
from consumers.ledger import KINDS, Event
from consumers.prospects import LATE_S, Next, Rules
from consumers.story import AtVapi, Story, read_at_vapi, tell

CALL = "01a058c7-4c94-7cd1-8155-66af75f0734c"
ENRICH = "calls.enrich.default"
AT = 1_800_000_000.0
RULES = Rules(emit_after_s=900, give_up_after_s=90_000, reached=lambda key: (f"queue of {key}",))
NOWHERE: tuple[Letter, ...] = ()


def event(kind: Any, at: float = AT, **changes: Any) -> Event:
    given_ = {"account": "default", "call_id": CALL, "kind": kind, "at": at, "event_id": f"default/{CALL}/{kind}/{at}"}
    return Event(**(given_ | changes))


def enriched(at: float = AT, **changes: Any) -> Event:
    told: dict[str, Any] = {
        "version": 1,
        "complete": True,
        "result": "completed",
        "reason": "customer-ended",
        "ended_reason": "customer-ended-call",
        "joined_from": "both",
        "attempt": 1,
        "source": "webhook",
        "received_at": AT - 5,
        "ended_at": AT - 10,
    }
    return event("enriched", at, **(told | changes))


def retried(at: float = AT, **changes: Any) -> Event:
    told = {"queue": ENRICH, "detail": "not final yet", "tier": "10m", "attempt": 1, "first_attempt_at": AT}
    return event("retried", at, **(told | changes))


def letter(queue: str = ENRICH, **changes: Any) -> Letter:
    told: dict[str, Any] = {
        "id": "3f2a9c0d41be",
        "lies_in": f"{queue}.dead",
        "queue": queue,
        "reason": "gave-up",
        "call_id": CALL,
        "account": "default",
        "attempts": 4,
        "died_at": AT + 1,
        "detail": "Vapi has no call of this id",
        "error_type": "Retry",
        "exchange": "calls.dead",
        "routing_key": queue,
    }
    return Letter(**(told | changes))


def story(*events: Event, letters: Any = NOWHERE, now: float = AT + 2, ended_at: float | None = None) -> Story:
    return tell(events, letters, RULES, now=now, ended_at=ended_at)


def next_of(*events: Event, **changes: Any) -> Next:
    (only,) = story(*events, **changes).next
    return only


def test_a_call_enriched_at_once_came_in_went_out_and_is_done() -> None:
    told = story(enriched())

    assert [(step.what, step.at) for step in told.steps] == [("received", AT - 5), ("enriched", AT)]
    assert told.steps[0].told == "the webhook came in"
    assert told.steps[1].told == "version 1 went out, complete, from API and webhook, attempt 1"
    assert told.steps[1].queues == ("queue of call.enriched.default.completed.customer-ended",)
    assert told.outcome == "completed / customer-ended (customer-ended-call)"
    assert told.ended_at == AT - 10
    assert [(each.state, each.told) for each in told.next] == [("done", "complete: nothing more")]


def test_the_sweep_as_the_source_is_told() -> None:
    told = story(event("swept", AT - 4), enriched(source="sweep"))

    assert [step.what for step in told.steps] == ["received", "swept", "enriched"]
    assert "the sweep found it" in told.steps[0].told


def test_two_notifications_of_a_call_came_in_twice() -> None:
    told = story(enriched(), enriched(AT + 1, received_at=AT - 1), enriched(AT + 2))

    assert [step.at for step in told.steps if step.what == "received"] == [AT - 5, AT - 1]


def test_a_call_in_a_tier_is_due_when_the_tier_ends() -> None:
    expected = next_of(retried())

    assert (expected.state, expected.lies_in, expected.at) == ("waiting", "calls.retry.10m", AT + 600)
    assert "attempt 2 at about 2027-01-15T08:10:00.000Z" in expected.told
    assert "goes out incomplete 900 s after its end at the latest" in expected.told


def test_where_vapi_tells_the_end_the_deadline_is_an_instant() -> None:
    assert "goes out incomplete at about 2027-01-15T08:15:00.000Z" in next_of(retried(), ended_at=AT).told


def test_a_hold_spends_no_attempt() -> None:
    assert "attempt 3 at about" in next_of(event("held", queue=ENRICH, tier="5s", attempt=3)).told


def test_a_subscribers_retry_promises_no_emission() -> None:
    expected = next_of(retried(queue="calls.crm", tier="30s"))

    assert (expected.queue, expected.at) == ("calls.crm", AT + 30)
    assert "goes out" not in expected.told


def test_who_is_long_overdue_waits_for_a_consumer() -> None:
    expected = next_of(retried(), now=AT + 600 + LATE_S + 1)

    assert (expected.state, expected.lies_in, expected.mend) == ("late", ENRICH, "aftercall doctor")
    assert "was due at about" in expected.told


def test_a_subscriber_that_is_silent_after_a_retry_or_a_replay_has_handled_it_as_far_as_anyone_knows() -> None:
    for before in (retried(queue="calls.crm"), event("replayed", queue="calls.crm", to="calls.crm")):
        expected = next_of(before, now=AT + 5000)
        assert (expected.state, expected.lies_in, expected.mend) == ("done", "calls.crm", "")
        assert "it was handled, unless it still waits in calls.crm" in expected.told


def test_an_incomplete_call_is_amended_or_given_up() -> None:
    incomplete = enriched(complete=False, missing=("analysis", "recording"))

    expected = next_of(incomplete, retried(AT + 1))

    assert "amended when Vapi has analysis, recording" in expected.told
    assert "given up at about 2027-01-16T09:00:00.000Z" in expected.told
    assert story(incomplete).steps[1].told.startswith("version 1 went out, without analysis, recording")


def test_an_incomplete_call_without_a_note_still_has_a_prospect() -> None:
    incomplete = enriched(complete=False, missing=("analysis",))

    assert next_of(incomplete).state == "waiting"
    assert "for good" in next_of(incomplete, now=AT + 100_000).told


def test_the_last_attempt_that_brought_nothing_new_leaves_the_call_incomplete_for_good() -> None:
    incomplete = enriched(complete=False, missing=("analysis",))
    last = retried(AT + 90_000 - 600)

    assert next_of(incomplete, last, now=AT + 91_000).told.startswith("incomplete for good, without analysis")


def test_after_the_amendment_nothing_more_comes() -> None:
    incomplete, amended = enriched(complete=False, missing=("cost",)), enriched(AT + 600, version=2)

    assert next_of(incomplete, retried(AT + 1), amended).told == "complete: nothing more"


def test_a_dead_letter_names_the_command_that_replays_it() -> None:
    expected = next_of(event("dead", queue=ENRICH, letter_reason="gave-up", attempt=4), letters=(letter(),))

    assert (expected.state, expected.lies_in) == ("dead", f"{ENRICH}.dead")
    assert expected.mend == "aftercall dead replay --id 3f2a9c0d41be"


def test_without_the_broker_the_letter_is_believed_to_lie_where_it_died() -> None:
    expected = next_of(event("dead", queue="calls.crm", letter_reason="rejected"), letters=None)

    assert expected.state == "dead"
    assert expected.mend == f"aftercall dead replay --queue calls.crm --call-id {CALL}"


def test_a_letter_that_is_gone_without_a_note_is_no_mystery_kept_silent() -> None:
    expected = next_of(event("dead", queue="calls.crm", letter_reason="rejected"))

    assert expected.state == "late"
    assert "no longer in calls.crm.dead" in expected.told


def test_a_letter_of_the_brokers_own_making_is_part_of_the_story_though_no_note_tells_of_it() -> None:
    told = story(enriched(), letters=(letter("calls.crm", reason="delivery-limit", detail="", error_type=""),))

    assert [step.what for step in told.steps] == ["received", "enriched", "dead"]
    assert [(each.queue, each.state) for each in told.next] == [(ENRICH, "done"), ("calls.crm", "dead")]


def test_a_letter_alone_makes_a_story() -> None:
    told = story(letters=(letter(),))

    assert (told.account, told.call_id, told.next[0].state) == ("default", CALL, "dead")


def test_a_replayed_letter_is_on_its_way_and_then_done() -> None:
    dead = event("dead", queue=ENRICH, letter_reason="gave-up")
    replayed = event("replayed", AT + 1, queue=ENRICH, to=ENRICH)

    assert next_of(dead, replayed).told == "on its way"
    assert next_of(dead, replayed, now=AT + 1000).state == "late"
    assert "it waits there" in next_of(dead, replayed, now=AT + 1000).told
    assert next_of(dead, replayed, enriched(AT + 1.1)).told == "complete: nothing more"


def test_the_note_of_a_replay_may_come_after_what_became_of_it() -> None:
    dead = event("dead", queue=ENRICH, letter_reason="gave-up")
    again = retried(AT + 0.9, tier="30s")

    assert next_of(dead, again, event("replayed", AT + 1, queue=ENRICH, to=ENRICH)).lies_in == "calls.retry.30s"


def test_a_letter_that_died_again_is_dead_whenever_the_note_of_its_replay_came() -> None:
    first, second = (event("dead", at, queue="calls.crm", letter_reason="rejected") for at in (AT, AT + 1))
    replayed = event("replayed", AT + 1.1, queue="calls.crm", to="calls.crm")

    assert next_of(first, second, replayed, letters=None).state == "dead"


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("calls.crm.v2", {("calls.crm", "its letter went to calls.crm.v2"), ("calls.crm.v2", "on its way")}),
        ("calls / call.ended.default", {("calls.crm", "its letter went to calls / call.ended.default")}),
        ("calls.dead / calls.crm", {("calls.crm", "its letter went to calls.dead / calls.crm")}),
    ],
)
def test_a_letter_replayed_to_another_place_is_looked_for_there(to: str, expected: set[tuple[str, str]]) -> None:
    dead = event("dead", queue="calls.crm", letter_reason="rejected")

    told = story(dead, event("replayed", AT + 1, queue="calls.crm", to=to))

    assert expected <= {(each.queue, each.told) for each in told.next}


def test_an_unrouted_notification_that_was_replayed_waits_to_be_enriched() -> None:
    told = story(event("replayed", queue="calls.unrouted", to="calls / call.ended.default"))

    assert (ENRICH, "on its way") in {(each.queue, each.told) for each in told.next}


def test_a_discarded_letter_comes_to_nothing_more() -> None:
    dead, gone = event("dead", queue="calls.crm"), event("discarded", AT + 1, queue="calls.crm")

    assert next_of(dead, gone).told == "discarded: nothing more"


def test_a_call_that_the_sweep_sent_in_waits_to_be_enriched() -> None:
    assert next_of(event("swept")).told == "sent in, and waits to be enriched"
    assert next_of(event("swept"), now=AT + 600).state == "late"


EVENTS = st.builds(
    event,
    st.sampled_from(KINDS),
    st.floats(AT - 100, AT + 100),
    queue=st.sampled_from(["", ENRICH, "calls.crm", "calls.unrouted"]),
    to=st.sampled_from(["", ENRICH, "calls.crm", "calls / call.ended.default", "calls.dead / calls.crm"]),
    tier=st.sampled_from(["", "5s", "6h", "odd"]),
    attempt=st.integers(0, 3),
    version=st.integers(0, 3),
    complete=st.sampled_from([None, True, False]),
    missing=st.sampled_from([(), ("cost",)]),
    received_at=st.none() | st.floats(AT - 200, AT),
    first_attempt_at=st.none() | st.floats(AT - 200, AT),
    ended_at=st.none() | st.floats(AT - 200, AT),
)
LETTERS = st.lists(st.builds(letter, st.sampled_from([ENRICH, "calls.crm"])), max_size=2).map(tuple)


@given(st.lists(EVENTS, min_size=1, max_size=8), st.none() | LETTERS, st.floats(AT - 1000, AT + 200_000))
def test_whatever_happened_has_a_story_with_every_event_and_a_next_for_every_letter(
    events: list[Event], letters: tuple[Letter, ...] | None, now: float
) -> None:
    told = story(*sorted(events, key=lambda each: each.at), letters=letters, now=now)

    assert len([step for step in told.steps if step.event_id]) == len(events)
    assert [step.at for step in told.steps] == sorted(step.at for step in told.steps)
    assert all(each.told and each.queue for each in told.next)
    mends = [each.mend for each in told.next if each.state == "dead"]
    assert letters is None or mends.count("aftercall dead replay --id 3f2a9c0d41be") == len(letters)


def test_what_vapi_says_is_read_tolerantly() -> None:
    assert read_at_vapi("acme", {"status": "ended", "endedAt": "2027-01-15T08:00:00Z", "endedReason": None}) == AtVapi(
        account="acme", is_known=True, status="ended", ended_at=AT
    )
    assert read_at_vapi("acme", {"status": 3, "endedAt": 4}) == AtVapi(account="acme", is_known=True)
