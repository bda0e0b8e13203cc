"""What a call is to each rule."""

from typing import Any

import pytest

from consumers.alerts.sightings import TOLD_MAX, Sighting, keep, sightings_of
from consumers.enriched import encode
from consumers.outcomes import Undecodable
from consumers.timestamps import iso
from tests.unit.alerts import AT, condition, failed, rule
from tests.unit.builders import CALL_ID, delivery, enriched_call, fetched


def only(seen: list[Sighting]) -> Sighting:
    (sighting,) = seen
    return sighting


def test_a_failed_call_is_seen_with_the_reason_why_it_ended() -> None:
    assert only(sightings_of([rule()], failed(ended_at=iso(AT - 3)), AT)) == Sighting(
        rule="failed calls",
        account="default",
        call_id=CALL_ID,
        rank=failed(ended_at=iso(AT - 3)).rank,
        at=AT - 3,
        matched=True,
        value=0.0,
        told="pipeline-error-openai-llm-failed",
        is_of_window=False,
    )


def test_a_call_that_does_not_match_is_nothing_to_a_rule_per_call_and_one_more_to_a_window() -> None:
    window = rule(name="share", measure="share", above=0.5)

    assert only(sightings_of([rule(), window], enriched_call(), AT)).matched is False
    assert [each.rule for each in sightings_of([rule(), window], failed(), AT)] == ["failed calls", "share"]


def test_a_rule_looks_at_its_own_accounts_alone() -> None:
    assert sightings_of([rule(accounts=("acme",))], failed(), AT) == []
    assert only(sightings_of([rule(accounts=("acme",))], failed(account="acme"), AT)).account == "acme"


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({"cost_above": 0.05}, True),
        ({"cost_above": 500}, False),
        ({"reason": "assistant-ended"}, False),
        ({"duration_above_s": 10, "duration_below_s": 3600}, True),
        ({"duration_below_s": 10}, False),
        ({"words": ("LAWYER", "harborview")}, True),
        ({"words": "lawyer"}, False),
        ({"path": "call.status", "value": "ended"}, True),
        ({"when": (condition("call.status", equals="ended"), condition("facts.cost", above=500))}, False),
    ],
)
def test_all_conditions_must_hold(changes: dict[str, Any], matches: bool) -> None:
    call = failed(call=fetched())

    assert bool(sightings_of([rule(**changes)], call, AT)) == matches


def test_quantities_that_were_compared_are_told_and_texts_are_not() -> None:
    when = (condition("facts.cost", above=0.01), condition("call.customer.number", contains="+1"))
    call = failed(call=fetched(cost=0.25))

    assert only(sightings_of([rule(when=when)], call, AT)).told == "pipeline-error-openai-llm-failed, facts.cost 0.25"


def test_what_is_told_has_an_end() -> None:
    outcome = {"result": "failed", "reason": "pipeline-error", "endedReason": "x" * 5000}

    assert len(only(sightings_of([rule()], failed(outcome=outcome), AT)).told) == TOLD_MAX


@pytest.mark.parametrize(("cost", "value"), [(0.25, 0.25), (None, 0.0), ("free", 0.0), (True, 0.0), (10**400, 0.0)])
def test_what_a_call_adds_to_a_sum_is_a_number_or_nothing(cost: Any, value: float) -> None:
    of_cost = rule(measure="sum", of="call.cost", above=5)

    assert only(sightings_of([of_cost], failed(call={"cost": cost}), AT)).value == value


def test_a_call_from_the_future_counts_now() -> None:
    assert only(sightings_of([rule()], failed(ended_at=iso(AT + 3600)), AT)).at == AT


async def test_a_delivered_call_is_written_down_if_a_rule_sees_something_in_it() -> None:
    written: list[tuple[Any, float]] = []

    async def record(seen: Any, now: float) -> None:
        written.append((seen, now))

    for call in (enriched_call(), failed()):
        assert await keep(delivery(encode(call).body), AT, rules=[rule()], record=record) == ()

    assert written == [(sightings_of([rule()], failed(), AT), AT)]


async def test_what_is_no_enriched_call_is_undecodable() -> None:
    async def record(*_: Any) -> None:
        raise AssertionError

    with pytest.raises(Undecodable):
        await keep(delivery(b"{}"), AT, rules=[rule()], record=record)
