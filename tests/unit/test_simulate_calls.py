import json
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.simulate.account import EndedCall
from worker.simulate.api.documents import remake
from worker.simulate.calls import SimulatedCall, make_call, presign_anew, to_json
from worker.simulate.faults import CallFaults
from worker.simulate.script.endings import ENDINGS

ENDED_AT = 1_788_195_955.477
MANY = 1_500


@pytest.fixture(scope="module")
def calls() -> list[SimulatedCall]:
    return [make_call(7, number, ENDED_AT + number) for number in range(MANY)]


def message(call: SimulatedCall) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(call.report)["message"]
    return said


def answered(number: int = 0, size_bytes: int = 20_000) -> SimulatedCall:
    made = (make_call(7, candidate, ENDED_AT, size_bytes) for candidate in range(number, number + 100))
    return next(c for c in made if c.outline.ending.reason_class == "customer-ended" and not c.is_zero_data_retention)


@given(seed=st.integers(), number=st.integers(0, 10**6), ended_at=st.floats(1.6e9, 2.0e9))
def test_the_same_arguments_make_the_same_call_byte_for_byte(seed: int, number: int, ended_at: float) -> None:
    first, second = make_call(seed, number, ended_at), make_call(seed, number, ended_at)

    assert first.report == second.report
    assert to_json(first.document) == to_json(second.document)


@given(number=st.integers(0, 10**6), ended_at=st.floats(1.6e9, 2.0e9))
def test_a_call_is_made_again_from_its_outline_alone(number: int, ended_at: float) -> None:
    call = make_call(1, number, ended_at)

    assert remake(EndedCall(call.outline, CallFaults(), ())) == call


def test_another_number_or_seed_makes_another_call() -> None:
    ids = {make_call(1, 0, ENDED_AT).id, make_call(1, 1, ENDED_AT).id, make_call(2, 0, ENDED_AT).id}

    assert len(ids) == 3


def test_every_class_of_ended_reason_occurs(calls: list[SimulatedCall]) -> None:
    seen = Counter(call.outline.ending.reason_class for call in calls)

    assert set(seen) == {ending.reason_class for ending in ENDINGS}
    assert len(seen) == 15
    assert seen["customer-ended"] > seen["no-answer"] > seen["unknown"]


def test_every_type_of_call_occurs_and_web_calls_have_no_number(calls: list[SimulatedCall]) -> None:
    assert {call.document["type"] for call in calls} == {"inboundPhoneCall", "outboundPhoneCall", "webCall"}
    assert all(("customer" in call.document) == (call.document["type"] != "webCall") for call in calls)


def test_ids_are_distinct_uuids_of_version_7_and_sort_by_time(calls: list[SimulatedCall]) -> None:
    ids = [call.id for call in calls]

    assert len(set(ids)) == MANY
    assert {UUID(call_id).version for call_id in ids} == {7}
    first, later = make_call(1, 0, ENDED_AT), make_call(1, 1, ENDED_AT + 86_400)
    assert first.id < later.id


def test_the_webhook_holds_a_stale_snapshot_of_the_call(calls: list[SimulatedCall]) -> None:
    for call in calls[:200]:
        snapshot = message(call)["call"]
        assert snapshot["id"] == call.id == call.document["id"]
        assert snapshot["status"] in {"queued", "ringing"}
        assert snapshot["updatedAt"] == snapshot["createdAt"]
        assert not {"endedReason", "endedAt", "artifact", "analysis", "cost"} & snapshot.keys()


def test_webhook_and_document_agree_on_what_both_have(calls: list[SimulatedCall]) -> None:
    for call in calls[:200]:
        said = message(call)
        assert call.document["status"] == "ended"
        for name in ("endedReason", "endedAt", "startedAt", "cost", "destination"):
            assert said.get(name) == call.document.get(name)


def test_times_run_from_creation_over_answer_to_end(calls: list[SimulatedCall]) -> None:
    for call in calls[:200]:
        names = ("createdAt", "startedAt", "endedAt", "updatedAt")
        times = [datetime.fromisoformat(call.document[name]) for name in names if name in call.document]
        assert times == sorted(times)


def test_a_call_that_nobody_answered_has_no_start_no_cost_and_no_words(calls: list[SimulatedCall]) -> None:
    unanswered = [call for call in calls if not call.outline.ending.is_answered]

    assert unanswered
    for call in unanswered:
        assert "startedAt" not in call.document
        assert call.document["cost"] == 0
        assert call.document["analysis"] == {}
        assert call.document["artifact"]["messages"] == []
        assert len(call.report) < 5_000


def test_zero_data_retention_leaves_the_content_to_the_webhook_alone(calls: list[SimulatedCall]) -> None:
    kept = [call for call in calls if call.is_zero_data_retention]

    assert 0 < len(kept) < MANY / 10
    for call in kept:
        assert not {"transcript", "summary", "messages", "recordingUrl"} & call.document.keys()
        assert call.document["artifact"].keys() == {"performanceMetrics"}
        assert message(call)["artifact"]["transcript"]
        assert message(call)["transcript"]


def test_drawn_sizes_run_from_a_few_to_hundreds_of_kilobytes(calls: list[SimulatedCall]) -> None:
    sizes = sorted(len(call.report) for call in calls)

    assert sizes[0] < 4_000
    assert 9_000 < sizes[MANY // 2] < 25_000
    assert 200_000 < sizes[-1] < 550_000


@pytest.mark.parametrize("size_bytes", [20_000, 50_000, 100_000, 500_000])
def test_an_answered_call_grows_to_the_size_asked_for(size_bytes: int) -> None:
    assert len(answered(size_bytes=size_bytes).report) == pytest.approx(size_bytes, rel=0.15)


def test_the_webhook_repeats_the_conversation_and_the_prompt() -> None:
    said = message(answered())

    assert said["messages"] == said["artifact"]["messages"]
    assert said["transcript"] == said["artifact"]["transcript"]
    assert {"bot", "user"} <= {turn["role"] for turn in said["messages"]}
    prompt = said["assistant"]["model"]["messages"][0]["content"]
    assert said["messages"][0]["message"] == prompt


def test_secrets_and_capabilities_are_there_to_be_redacted() -> None:
    call = answered()

    assert call.document["monitor"]["controlUrl"].endswith("/control")
    assert call.document["assistantOverrides"]["server"]["secret"]
    assert call.document["artifact"]["presignedMonoUrl"].startswith("https://")
    assert message(call)["assistant"]["server"]["secret"]


def test_phone_numbers_are_invented(calls: list[SimulatedCall]) -> None:
    numbers = {call.document["customer"]["number"] for call in calls if "customer" in call.document}

    assert numbers
    assert all(number[5:10] == "55501" and len(number) == 12 for number in numbers)


def test_presigned_urls_differ_between_webhook_document_and_repetition() -> None:
    call = answered()
    urls = {
        message(call)["artifact"]["presignedMonoUrl"],
        call.document["artifact"]["presignedMonoUrl"],
        json.loads(call.repeated_report)["message"]["artifact"]["presignedMonoUrl"],
    }

    assert len(urls) == 3
    assert len({url.split("?")[0] for url in urls}) == 1
    assert len(call.repeated_report) == len(call.report)


def test_presigning_anew_and_back_gives_the_same_bytes() -> None:
    call = answered()

    anew = presign_anew(call.report, call.id, was=1, now=9)
    assert anew != call.report
    assert presign_anew(anew, call.id, was=9, now=1) == call.report


def test_a_lone_surrogate_is_an_escape_in_the_bytes_that_the_fast_parser_refuses() -> None:
    call = make_call(1, 3, ENDED_AT, lone_surrogate=True)

    assert rb"\ud83d" in call.report
    assert rb"\ud83d" in to_json(call.document)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(call.report)
    assert json.loads(call.report)["message"]["call"]["metadata"]["note"] == "\ud83d"


def test_a_lone_surrogate_is_rare_by_itself(calls: list[SimulatedCall]) -> None:
    assert 0 < sum(rb"\ud83d" in call.report for call in calls) < 15


def test_text_beyond_ascii_stands_as_utf_8(calls: list[SimulatedCall]) -> None:
    everything = b"".join(call.report for call in calls[:100])

    assert "Jürgen".encode() in everything
    assert "👍".encode() in everything


def test_structured_outputs_occur_with_and_without_a_result(calls: list[SimulatedCall]) -> None:
    outputs = [
        output["result"] for call in calls for output in call.document["artifact"].get("structuredOutputs", {}).values()
    ]

    assert None in outputs
    assert any(isinstance(result, dict) for result in outputs)
