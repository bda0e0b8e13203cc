import msgspec
import pytest

from consumers.conditions import Condition
from consumers.paths import document_of
from tests.unit.builders import enriched_call

CALL = {
    "cost": 0.25,
    "customer": {"number": "+14155550123"},
    "artifact": {"transcript": "AI: Hello.\nUser: I want my MONEY back."},
    "analysis": {
        "successEvaluation": "8",
        "structuredData": {"doNotCall": True, "tags": ["test", "b"], "score": "7.5"},
    },
}
DATA = "call.analysis.structuredData"
NUMBER = "call.customer.number"
SCORE = "facts.success_evaluation"


def holds(path: str, **compared: object) -> bool:
    condition = msgspec.convert({"path": path, **compared}, Condition)
    assert list(condition.problems()) == []
    return condition.holds(document_of(enriched_call(call=CALL)))


def problems(**given: object) -> list[tuple[tuple[str | int, ...], str]]:
    return list(msgspec.convert(given, Condition).problems())


def test_a_value_equals_itself_and_its_word_as_text() -> None:
    assert holds(f"{DATA}.doNotCall", equals=True)
    assert not holds(f"{DATA}.doNotCall", equals=1)
    assert holds(SCORE, equals=8)
    assert holds(SCORE, equals="8")
    assert not holds(NUMBER, equals="+1415")
    assert holds(SCORE, equals=8.0)
    assert holds(f"{DATA}.score", equals=7.50)
    assert not holds(f"{DATA}.score", equals=7)
    assert not holds(f"{DATA}.score", equals=True)


def test_numbers_are_compared_even_where_they_are_text() -> None:
    assert holds("facts.cost", above=0.2, below=0.3)
    assert not holds("facts.cost", above=0.25)
    assert holds(f"{DATA}.score", above=7)
    assert not holds(f"{DATA}.doNotCall", above=0)


def test_a_text_contains_words_whatever_their_case_and_a_list_its_items() -> None:
    assert holds("facts.transcript", contains="money back")
    assert holds("facts.transcript", contains=["refund", "Money"])
    assert not holds("facts.transcript", contains=["refund"])
    assert holds(f"{DATA}.tags", contains="test")
    assert not holds(f"{DATA}.tags", contains="tes")


def test_one_of_several_values_will_do() -> None:
    assert holds("outcome.reason", one_of=["voicemail", "customer-ended"])
    assert not holds("outcome.reason", one_of=["voicemail"])


def test_what_a_call_does_not_tell_is_not_set_and_only_unequal() -> None:
    missing = f"{DATA}.nothing"
    assert holds(missing, is_set=False)
    assert holds(missing, not_equals="x")
    assert not any(
        (holds(missing, equals=0), holds(missing, above=-1), holds(missing, below=1), holds(missing, contains="x"))
    )
    assert holds(NUMBER, is_set=True)


def test_all_comparisons_of_a_condition_must_hold() -> None:
    assert holds(SCORE, above=5, not_equals=9)
    assert not holds(SCORE, above=5, not_equals=8)


def test_a_wrong_path_and_a_condition_that_compares_nothing_are_told() -> None:
    assert problems(path="facts.cos", above=1) == [(("path",), "'facts.cos': facts has no 'cos': did you mean cost?")]
    assert problems(path="facts.cost")[0][1].startswith("compares with nothing: add one of equals")
    assert problems(path="facts.cost", one_of=[]) == [(("one_of",), "holds never: it has nothing in it")]


def test_an_unknown_comparison_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `equal`"):
        problems(path="facts.cost", equal=1)
