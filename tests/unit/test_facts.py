from typing import Any

import pytest
from hypothesis import given

from consumers.facts import facts_of
from tests.unit.builders import OBJECTS, enriched_call, fetched, report


def facts(call: dict[str, Any]) -> Any:
    return facts_of(enriched_call(call=call))


def test_a_phone_call_tells_who_how_long_and_what_it_cost() -> None:
    told = facts(fetched())
    assert (told.direction, told.customer_number, told.customer_name) == ("outbound", "+15035550167", "Priya Raman")
    assert (told.customer_external_id, told.assistant_id) == ("crm-48213", "6b1f9b0e-2f0a-4a3b-8f57-0d0a2c7f4e01")
    assert (told.cost, told.cost_llm, told.cost_stt) == (0.1845, 0.0215, 0.0147)
    assert told.duration_s == pytest.approx(89.868, abs=1)
    assert told.summary.startswith("Maya reached Priya Raman")
    assert told.success_evaluation == "true"


def test_talk_time_is_told_from_the_turns_times_for_their_duration_has_two_units() -> None:
    turns = [
        {"role": "system", "message": "You are Maya."},
        {"role": "bot", "message": "Hello there you", "time": 1000, "endTime": 3500, "duration": 2500},
        {"role": "user", "message": "Hi", "time": 4000, "endTime": 4500, "duration": 0.5},
    ]
    told = facts({"artifact": {"messages": turns}})
    assert (told.assistant_talk_s, told.customer_talk_s) == (2.5, 0.5)
    assert (told.assistant_words, told.customer_words) == (3, 1)


def test_latency_is_the_average_that_vapi_tells_and_the_95th_centile_of_the_turns() -> None:
    told = facts(fetched())
    assert (told.turn_latency_ms, told.turn_latency_p95_ms) == (1731.75, 2063)
    assert (told.assistant_interrupted, told.customer_interrupted) == (2, 1)


def test_costs_are_summed_by_type_where_there_is_no_breakdown() -> None:
    parts = [{"type": "model", "cost": 0.25}, {"type": "model", "cost": 0.5}, {"type": "voice", "cost": 1}, None, 3]
    told = facts({"costs": parts})
    assert (told.cost_llm, told.cost_tts, told.cost_stt) == (0.75, 1, None)


@pytest.mark.parametrize(
    ("number", "told"), [("+15035550142", "+15035550142"), ({"number": "+15035550142"}, "+15035550142"), (None, None)]
)
def test_our_number_is_text_or_an_object(number: object, told: str | None) -> None:
    assert facts({"phoneNumber": number}).our_number == told


@pytest.mark.parametrize(
    ("evaluation", "told"),
    [("8", "8"), (True, "true"), (False, "false"), (7, "7"), ("", None), (None, None), ({}, None)],
)
def test_a_success_evaluation_is_a_word_whatever_its_type(evaluation: object, told: str | None) -> None:
    assert facts({"analysis": {"successEvaluation": evaluation}}).success_evaluation == told


def test_a_web_call_and_one_that_was_never_answered_have_what_they_have() -> None:
    web = facts(fetched("web"))
    assert (web.direction, web.customer_number, web.our_number) == ("web", None, None)
    assert facts(fetched(startedAt=...)).duration_s is None


@given(OBJECTS)
def test_no_document_is_too_odd_for_facts(call: dict[str, Any]) -> None:
    facts(call)


@pytest.mark.parametrize("wrong", [None, 3, "x", [], [None], {}, {"messages": 3}, {"messages": [{"role": ["bot"]}]}])
def test_no_shape_of_its_parts_is_too_odd_either(wrong: object) -> None:
    parts = ("artifact", "analysis", "customer", "phoneNumber", "costs", "costBreakdown", "startedAt", "type")
    facts(dict.fromkeys(parts, wrong))


def test_the_report_alone_tells_the_same_facts_as_far_as_it_goes() -> None:
    told = facts(report())
    assert told.cost == 0.1845
    assert told.customer_number == "+15035550167"
