import csv
import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ended_reasons import RULES, Outcome, Result, outcome_of
from tests.unit.builders import SAMPLES, enriched_call

with (SAMPLES / "ended-reasons.tsv").open(encoding="utf-8") as file:
    KNOWN: list[tuple[str, str]] = [(row[0], row[1]) for row in csv.reader(file, delimiter="\t")]

# The table of the contract: the result follows from the class.
RESULTS = {
    "completed": {"customer-ended", "assistant-ended", "transferred", "timed-out"},
    "unreached": {"voicemail", "no-answer", "no-audio", "canceled"},
    "failed": {
        "transfer-failed",
        "start-error",
        "provider-error",
        "pipeline-error",
        "transport-error",
        "platform-error",
    },
    "unknown": {"unknown"},
}


def test_the_sample_holds_all_595_known_reasons() -> None:
    assert len(KNOWN) == len(dict(KNOWN)) == 595


@pytest.mark.parametrize("reason_class", sorted({reason_class for _, reason_class in KNOWN}))
def test_every_known_reason_has_its_class(reason_class: str) -> None:
    due = {reason for reason, known_class in KNOWN if known_class == reason_class}
    assert {reason for reason, _ in KNOWN if outcome_of(reason).reason == reason_class} == due


@pytest.mark.parametrize(("reason", "reason_class"), KNOWN[::40])
def test_the_result_follows_from_the_class(reason: str, reason_class: str) -> None:
    assert reason_class in RESULTS[outcome_of(reason).result]


def test_each_class_has_one_result_and_it_is_the_one_of_the_contract() -> None:
    assert {(name, result) for name, result, _ in RULES} == {
        (name, result) for result, names in RESULTS.items() if result != "unknown" for name in names
    }


@given(st.text() | st.sampled_from([reason for reason, _ in KNOWN]).map(lambda reason: f"{reason}-new"))
def test_any_text_at_all_has_a_result_and_a_class_that_is_one_word_of_a_routing_key(text: str) -> None:
    outcome = outcome_of(text)
    assert outcome.reason in RESULTS[outcome.result]
    assert outcome.result in get_args(Result)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", outcome.reason)
    assert outcome.ended_reason == text


@pytest.mark.parametrize("value", [None, 1, True, {}, [], {"reason": "voicemail"}, ["voicemail"]])
def test_what_is_no_text_is_unknown_and_no_reason(value: Any) -> None:
    assert outcome_of(value) == Outcome("unknown", "unknown", None)


@pytest.mark.parametrize(
    "text", ["", "something-new", "no", "call.in-progress.error-brand-new", "VOICEMAIL", "my voicemail"]
)
def test_a_new_reason_is_unknown_and_passed_on(text: str) -> None:
    assert outcome_of(text) == Outcome("unknown", "unknown", text)


@pytest.mark.parametrize(
    ("reason", "reason_class"),
    [
        ("call.in-progress.error-providerfault-outbound-sip-480-temporarily-unavailable", "no-answer"),
        ("call.in-progress.error-providerfault-outbound-sip-503-service-unavailable", "transport-error"),
        ("call.in-progress.error-providerfault-a-model-of-tomorrow-failed", "provider-error"),
        ("call.in-progress.error-vapifault-a-new-fault", "platform-error"),
        ("pipeline-error-a-new-voice-failed", "pipeline-error"),
        ("call.start.error-a-new-limit", "start-error"),
    ],
)
def test_a_new_reason_of_a_known_family_has_the_class_of_the_family(reason: str, reason_class: str) -> None:
    assert outcome_of(reason).reason == reason_class


@pytest.mark.parametrize(
    ("version", "outcome", "key"),
    [
        (1, outcome_of("voicemail"), "call.enriched.acme-dental.unreached.voicemail"),
        (2, outcome_of("voicemail"), "call.amended.acme-dental.unreached.voicemail"),
        (3, outcome_of("pipeline-error-x.#*"), "call.amended.acme-dental.failed.pipeline-error"),
        (1, outcome_of(None), "call.enriched.acme-dental.unknown.unknown"),
    ],
)
def test_the_routing_key_names_event_account_result_and_class(version: int, outcome: Outcome, key: str) -> None:
    told = {"result": outcome.result, "reason": outcome.reason, "endedReason": outcome.ended_reason}
    assert enriched_call(account="acme-dental", version=version, outcome=told).routing_key == key


@given(st.text())
def test_a_routing_key_has_five_words_whatever_the_reason(text: str) -> None:
    outcome = outcome_of(text)
    told = {"result": outcome.result, "reason": outcome.reason, "endedReason": None}
    assert len(enriched_call(outcome=told).routing_key.split(".")) == 5
