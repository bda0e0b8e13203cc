import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.dead_letters import Letter
from consumers.ledger import KINDS, Event
from consumers.story import AtVapi, read_at_vapi
from tests.unit.stories import AT, CALL, DONE, ENRICH, enriched, event, letter, next_of, story


def test_a_call_enriched_at_once_came_in_went_out_and_is_done() -> None:
    told = story(enriched())

    assert [(step.what, step.at) for step in told.steps] == [("received", AT - 5), ("enriched", AT)]
    assert told.steps[0].told == "the webhook came in"
    assert told.steps[1].told == "version 1 went out, complete, from API and webhook, attempt 1"
    assert told.steps[1].queues == ("queue of call.enriched.default.completed.customer-ended",)
    assert told.outcome == "completed / customer-ended (customer-ended-call)"
    assert told.ended_at == AT - 10
    assert [(each.state, each.told) for each in told.next] == [("done", DONE)]


def test_the_sweep_as_the_source_is_told() -> None:
    told = story(event("swept", AT - 4), enriched(source="sweep"))

    assert [step.what for step in told.steps] == ["received", "swept", "enriched"]
    assert "the sweep found it" in told.steps[0].told


def test_two_notifications_of_a_call_came_in_twice() -> None:
    told = story(enriched(), enriched(AT + 1, received_at=AT - 1), enriched(AT + 2))

    assert [step.at for step in told.steps if step.what == "received"] == [AT - 5, AT - 1]


def test_what_the_enricher_could_not_ask_for_is_told_in_words() -> None:
    incomplete = enriched(complete=False, missing=("api",), joined_from="webhook")

    assert next_of(incomplete).told == "an amendment follows with Vapi's record, if that comes"
    assert (
        story(incomplete).steps[1].told
        == "version 1 went out, without Vapi's record, from the webhook alone, attempt 1"
    )


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (
            {"reason": "error", "detail": "Traceback\n  at 1\nKeyError: 'x'", "error_type": "KeyError"},
            "error: KeyError: 'x'",
        ),
        ({"reason": "delivery-limit", "detail": "", "error_type": ""}, "delivery-limit"),
        ({"reason": "rejected", "detail": "", "error_type": "Reject"}, "rejected: Reject"),
    ],
)
def test_the_cause_of_a_death_is_told_with_its_values_and_without_its_traceback(
    changes: dict[str, str], cause: str
) -> None:
    told = story(letters=(letter(**changes),))

    assert told.next[0].then == (cause,)
    assert told.steps[0].told == f"attempt 4 in {ENRICH}: dead letter, {cause}"


def test_a_letter_of_the_brokers_own_making_is_part_of_the_story_though_no_note_tells_of_it() -> None:
    told = story(enriched(), letters=(letter("calls.crm", reason="delivery-limit", detail="", error_type=""),))

    assert [step.what for step in told.steps] == ["received", "enriched", "dead"]
    assert [(each.queue, each.state) for each in told.next] == [(ENRICH, "done"), ("calls.crm", "dead")]


def test_a_letter_alone_makes_a_story() -> None:
    told = story(letters=(letter(),))

    assert (told.account, told.call_id, told.next[0].state) == ("default", CALL, "dead")


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
