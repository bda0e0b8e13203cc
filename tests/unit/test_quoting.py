import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.quoting import place_in, quoted, unquoted
from consumers.settling import Schedule, settle
from tests.unit.builders import delivery


@given(st.text())
def test_whatever_others_say_nothing_of_it_is_left_once_it_is_taken_out(words: str) -> None:
    assert unquoted(f"b answers 400: {quoted(words)}; c does not") == "b answers 400: “…”; c does not"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ours alone", "ours alone"),
        ("a said “one” and b “two”", "a said “…” and b “…”"),
        ("cut off “amid a wor", "cut off “…”"),
    ],
)
def test_words_of_others_are_taken_out_wherever_they_stand(text: str, told: str) -> None:
    assert unquoted(text) == told


def test_an_error_is_told_by_its_type_and_place() -> None:
    try:
        {}["a name"]
    except KeyError as error:
        told = place_in(error)
    assert told.startswith("KeyError, test_quoting.py, line ")
    assert told.endswith("in test_an_error_is_told_by_its_type_and_place")
    assert place_in(ValueError("never raised")) == "ValueError"


@pytest.mark.parametrize("attempt", [1, 9], ids=["retried", "dead"])
@pytest.mark.parametrize("error", [ValueError("a name"), ExceptionGroup("a name", [KeyError("a name")])])
def test_what_an_error_nobody_foresaw_says_is_told_to_no_log_and_no_note(error: Exception, attempt: int) -> None:
    came = delivery(b"{}", {"x-aftercall-attempt": attempt})
    settlement = settle(came, error, schedule=Schedule((5,), 90_000), now=1.8e9)

    assert "a name" not in settlement.detail
    assert type(error).__name__ in settlement.detail
    if attempt == 1:
        assert "a name" not in str(settlement.messages[-1].headers)
