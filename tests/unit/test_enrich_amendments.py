"""What goes out after the first emission, and how waiting ends."""

import copy

import pytest

from consumers.enrich import (
    Answer,
)
from consumers.outcomes import Hold
from consumers.settling import Schedule, settle
from tests.unit.builders import RECEIVED_AT, fetched, notification, report
from tests.unit.enriching import (
    DEADLINE,
    DOWN,
    GONE,
    LATE,
    NO_COST,
    NOT_FOUND,
    OVER,
    UNREADABLE,
    again,
    answered,
    arrived,
    decided,
    later,
    only,
)

# Amendments


def test_what_comes_later_goes_out_as_version_2_and_is_done() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    message, body = only(decided(again(NO_COST, first), answered(fetched()), DEADLINE + 60))
    assert message.type == "call.amended"
    assert (body["version"], body["complete"], body["missing"]) == (2, True, [])
    assert message.headers["ce-id"] != first.remember["x-aftercall-emitted"]


def test_an_amendment_goes_out_each_time_less_is_missing() -> None:
    running = fetched("in-progress", cost=...)
    first = later(notification(NO_COST), answered(running), DEADLINE)
    assert first.remember["x-aftercall-missing"] == "status,cost"

    second = later(again(NO_COST, first), answered(LATE), DEADLINE + 60)
    message, body = only(second.first)
    assert (message.type, body["version"], body["missing"]) == ("call.amended", 2, ["cost"])
    assert second.remember["x-aftercall-version"] == 2

    _, last = only(decided(again(NO_COST, second), answered(fetched()), DEADLINE + 120))
    assert (last["version"], last["complete"]) == (3, True)


def test_while_as_much_is_missing_nothing_more_goes_out() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    said = later(again(NO_COST, first), answered(LATE | {"name": "changed"}), DEADLINE + 60)
    assert (said.first, said.remember) == ((), {})


def test_after_an_outage_the_answer_is_an_amendment_though_something_is_missing_still() -> None:
    first = later(notification(NO_COST), DOWN, DEADLINE)
    assert first.remember["x-aftercall-missing"] == "api,cost"
    _, body = only(later(again(NO_COST, first), answered(LATE), DEADLINE + 60).first)
    assert (body["version"], body["missing"]) == (2, ["cost"])


@pytest.mark.parametrize("answer", [DOWN, UNREADABLE, NOT_FOUND])
def test_without_an_answer_no_amendment_goes_out_even_if_the_webhook_alone_would_lack_less(answer: Answer) -> None:
    """The record shows a start, hence waits for a cost; the webhook alone knows of no start."""
    unstarted = report(cost=..., startedAt=...)
    first = later(notification(copy.deepcopy(unstarted)), answered(fetched("in-progress", cost=...)), DEADLINE)
    assert first.remember["x-aftercall-missing"] == "status,cost"
    assert later(again(unstarted, first), answer, DEADLINE + 60).first == ()


# The end of waiting


def test_a_call_that_was_incomplete_to_the_end_ends_without_another_word() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    assert decided(again(NO_COST, first), answered(LATE), OVER) == ()


def test_what_changed_since_the_last_emission_goes_out_at_the_end() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    message, body = only(decided(again(NO_COST, first), answered(LATE | {"name": "changed"}), OVER))
    assert (message.type, body["version"], body["missing"]) == ("call.amended", 2, ["cost"])
    assert body["call"]["name"] == "changed"


def test_what_completes_at_the_end_goes_out_complete() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    assert only(decided(again(NO_COST, first), answered(fetched()), OVER))[1]["complete"]


def test_an_outage_gives_up_nothing() -> None:
    first = later(notification(), DOWN, DEADLINE)
    said = later(again(report(), first), DOWN, OVER + 99 * 3600)
    assert type(said) is Hold
    assert said.first == ()


def test_a_call_that_was_held_over_a_weekend_is_asked_for_and_then_ends() -> None:
    first = later(notification(NO_COST), DOWN, DEADLINE)
    _, body = only(decided(again(NO_COST, first), answered(LATE), OVER + 99 * 3600))
    assert (body["version"], body["missing"]) == (2, ["cost"])


@pytest.mark.parametrize("answer", [UNREADABLE, NOT_FOUND, GONE])
def test_what_went_out_from_the_api_is_not_followed_by_less_at_the_end(answer: Answer) -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    assert decided(again(NO_COST, first), answer, OVER) == ()


def test_a_call_of_which_nothing_went_out_goes_out_at_the_end_if_its_deadline_has_come() -> None:
    _, body = only(decided(notification(NO_COST), answered(LATE), OVER))
    assert (body["version"], body["complete"], body["missing"]) == (1, False, ["cost"])


def test_giving_up_before_the_deadline_makes_a_dead_letter() -> None:
    of = notification(NO_COST)
    now = RECEIVED_AT + 60
    said = later(of, answered(LATE), now, give_up_after_s=60)
    settlement = settle(arrived(), said, schedule=Schedule((5, 30), 60), now=now)
    assert (settlement.name, settlement.reason) == ("dead_lettered", "gave-up")
