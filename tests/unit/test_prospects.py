import pytest

from consumers.prospects import LATE_S
from tests.unit.stories import AT, CALL, DONE, ENRICH, enriched, event, letter, next_of, retried, story


def test_a_call_in_a_tier_is_due_when_the_tier_ends() -> None:
    expected = next_of(retried())

    assert (expected.state, expected.lies_in, expected.at) == ("waiting", "calls.retry.10m", AT + 600)
    assert expected.told == "attempt 2 at about 2027-01-15T08:10:00.000Z, till then in calls.retry.10m"
    assert expected.then == (
        "it goes out as it is 900 s after its end, if it is not complete by then",
        "the last attempt is at about 2027-01-16T09:00:00.000Z",
    )


def test_where_vapi_tells_the_end_the_deadline_is_an_instant() -> None:
    assert next_of(retried(), ended_at=AT).then[0].startswith("it goes out as it is at about 2027-01-15T08:15:00.000Z,")


def test_a_deadline_that_has_passed_is_kept_at_the_next_attempt() -> None:
    expected = next_of(retried(), ended_at=AT - 5000)

    assert expected.then[0].startswith("it goes out as it is at about 2027-01-15T08:10:00.000Z,")


def test_a_hold_spends_no_attempt() -> None:
    assert "attempt 3 at about" in next_of(event("held", queue=ENRICH, tier="5s", attempt=3)).told


def test_a_subscribers_retry_promises_no_emission() -> None:
    expected = next_of(retried(queue="calls.crm", tier="30s"))

    assert (expected.queue, expected.at) == ("calls.crm", AT + 30)
    assert expected.then == ()


def test_who_is_long_overdue_waits_for_a_consumer() -> None:
    expected = next_of(retried(), now=AT + 600 + LATE_S + 1)

    assert (expected.state, expected.lies_in, expected.mend) == ("late", ENRICH, "aftercall doctor")
    assert expected.told == "attempt 2 was due at about 2027-01-15T08:10:00.000Z"
    assert expected.then[0].startswith(f"it waits in {ENRICH} for a consumer")


def test_a_subscriber_that_is_silent_after_a_retry_or_a_replay_has_handled_it_as_far_as_anyone_knows() -> None:
    for before in (retried(queue="calls.crm"), event("replayed", queue="calls.crm", to="calls.crm")):
        expected = next_of(before, now=AT + 5000)
        assert (expected.state, expected.lies_in, expected.mend) == ("done", "calls.crm", "")
        assert expected.told.startswith("nothing, it seems: ")
        assert expected.then == ("unless it still waits in calls.crm",)


def test_an_incomplete_call_is_amended_or_given_up() -> None:
    incomplete = enriched(complete=False, missing=("analysis", "recording"))

    expected = next_of(incomplete, retried(AT + 1))

    assert expected.then == (
        "an amendment follows with analysis, recording, if that comes",
        "the last attempt is at about 2027-01-16T09:00:00.000Z",
    )
    assert story(incomplete).steps[1].told.startswith("version 1 went out, without analysis, recording")


def test_an_incomplete_call_without_a_note_still_has_a_prospect() -> None:
    incomplete = enriched(complete=False, missing=("analysis",))

    assert next_of(incomplete).state == "waiting"
    assert next_of(incomplete, now=AT + 100_000).told.startswith("nothing, it stays without analysis")


def test_the_last_attempt_that_brought_nothing_new_leaves_the_call_incomplete_for_good() -> None:
    incomplete = enriched(complete=False, missing=("analysis",))
    last = retried(AT + 90_000 - 600)

    assert next_of(incomplete, last, now=AT + 91_000).told.startswith("nothing, it stays without analysis")


def test_after_the_amendment_nothing_more_comes() -> None:
    incomplete, amended = enriched(complete=False, missing=("cost",)), enriched(AT + 600, version=2)

    assert next_of(incomplete, retried(AT + 1), amended).told == DONE


def test_a_dead_letter_names_the_command_that_replays_it() -> None:
    expected = next_of(event("dead", queue=ENRICH, letter_reason="gave-up", attempt=4), letters=(letter(),))

    assert (expected.state, expected.lies_in) == ("dead", f"{ENRICH}.dead")
    assert expected.told == f"nothing by itself: it is dead letter 3f2a9c0d41be in {ENRICH}.dead"
    assert expected.then == ("gave-up: Vapi has no call of this id",)
    assert expected.mend == "aftercall dead replay --id 3f2a9c0d41be"


def test_without_the_broker_the_letter_is_believed_to_lie_where_it_died() -> None:
    expected = next_of(event("dead", queue="calls.crm", letter_reason="rejected"), letters=None)

    assert expected.state == "dead"
    assert expected.mend == f"aftercall dead replay --queue calls.crm --call-id {CALL}"


def test_a_letter_that_is_gone_without_a_note_is_no_mystery_kept_silent() -> None:
    expected = next_of(event("dead", queue="calls.crm", letter_reason="rejected"))

    assert expected.state == "late"
    assert "no longer in calls.crm.dead" in expected.told


def test_a_replayed_letter_is_on_its_way_and_then_done() -> None:
    dead = event("dead", queue=ENRICH, letter_reason="gave-up")
    replayed = event("replayed", AT + 1, queue=ENRICH, to=ENRICH)

    assert next_of(dead, replayed).told == f"it was replayed and waits in {ENRICH} to be handled again"
    late = next_of(dead, replayed, now=AT + 1000)
    assert (late.state, late.told) == ("late", "it was replayed at 2027-01-15T08:00:01.000Z")
    assert next_of(dead, replayed, enriched(AT + 1.1)).told == DONE


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
        (
            "calls.crm.v2",
            {
                ("calls.crm", "nothing, its letter went to calls.crm.v2"),
                ("calls.crm.v2", "it was replayed and waits in calls.crm.v2 to be handled again"),
            },
        ),
        ("calls / call.ended.default", {("calls.crm", "nothing, its letter went to calls / call.ended.default")}),
        ("calls.dead / calls.crm", {("calls.crm", "nothing, its letter went to calls.dead / calls.crm")}),
    ],
)
def test_a_letter_replayed_to_another_place_is_looked_for_there(to: str, expected: set[tuple[str, str]]) -> None:
    dead = event("dead", queue="calls.crm", letter_reason="rejected")

    told = story(dead, event("replayed", AT + 1, queue="calls.crm", to=to))

    assert expected <= {(each.queue, each.told) for each in told.next}


def test_an_unrouted_notification_that_was_replayed_waits_to_be_enriched() -> None:
    told = story(event("replayed", queue="calls.unrouted", to="calls / call.ended.default"))

    assert (ENRICH, "waiting") in {(each.queue, each.state) for each in told.next}


def test_a_discarded_letter_comes_to_nothing_more() -> None:
    dead, gone = event("dead", queue="calls.crm"), event("discarded", AT + 1, queue="calls.crm")

    assert next_of(dead, gone).told == "nothing, its letter was discarded"


def test_a_call_that_the_sweep_sent_in_waits_to_be_enriched() -> None:
    assert next_of(event("swept")).told == f"it was sent in and waits in {ENRICH} to be enriched"
    assert next_of(event("swept"), now=AT + 600).state == "late"
