import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.words import Term, WrongWords, fold, snippet, terms_of

SAID = "AI: Hello! You asked about the Réfund policy.\nUser: Yes, the refund-policy for 503-555-0167. Thanks."


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("refund policy", (Term(("refund",)), Term(("policy",)))),
        ('"refund policy"', (Term(("refund", "policy")),)),
        ("refund*", (Term(("refund",), is_prefix=True),)),
        ('"refund pol"*', (Term(("refund", "pol"), is_prefix=True),)),
        (
            'refund -voicemail -"no answer"',
            (Term(("refund",)), Term(("voicemail",), is_unwanted=True), Term(("no", "answer"), is_unwanted=True)),
        ),
        ("e-mail", (Term(("e", "mail")),)),
        ("503-555-0167", (Term(("503", "555", "0167")),)),
        ('"never closed', (Term(("never", "closed")),)),
        ("José ¿qué?", (Term(("José",)), Term(("qué",)))),
    ],
)
def test_words_are_looked_for_as_people_write_them(text: str, terms: tuple[Term, ...]) -> None:
    assert terms_of(text) == terms


@pytest.mark.parametrize("text", ["", "   ", "***", "-voicemail", '""', "_ - _"])
def test_without_a_word_to_look_for_there_is_nothing_to_do(text: str) -> None:
    with pytest.raises(WrongWords, match="names no word to look for"):
        terms_of(text)


def test_case_accents_and_punctuation_make_no_difference() -> None:
    assert fold("RÉFUND-policy").split() == fold("refund policy").split() == ["refund", "policy"]
    assert fold("Ёлка ЙОД").split() == ["елка", "иод"]
    assert fold("한국어 हिन्दी").split()[0] == "한국어"


@given(st.text(max_size=200))
def test_any_text_folds_to_words_that_fold_to_themselves(text: str) -> None:
    assert fold(fold(text)).split() == fold(text).split()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("refund", "asked about the [Réfund] policy."),
        ('"refund policy"', "asked about the [Réfund policy]. User:"),
        ("policy -hello", "the Réfund [policy]."),
        ('"refund pol"*', "the [Réfund policy]."),
        ("0167 thanks", "for 503-555-[0167]. Thanks."),
        ("than*", "503-555-0167. [Thanks]."),
    ],
)
def test_a_snippet_shows_what_was_found_within_what_was_said_around_it(text: str, shown: str) -> None:
    assert shown in snippet([None, SAID], terms_of(text), begin="[", end="]")


def test_a_snippet_is_one_line_cut_between_words() -> None:
    told = snippet(["before " * 50 + "needle" + " behind" * 50], terms_of("needle"), begin="<", end=">")
    assert told.startswith("…before before")
    assert told.endswith("behind behind …")
    assert "\n" not in told
    assert len(told) < 150


def test_the_first_text_that_has_it_is_shown_and_nothing_where_none_has() -> None:
    terms = terms_of("policy")
    assert snippet(["nothing", "a policy"], terms, begin="", end="") == "a policy"
    assert snippet(["nothing", None, ""], terms, begin="", end="") == ""


@given(st.text(max_size=80), st.lists(st.text("ab c", min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_snippet_never_fails_whatever_was_said(text: str, words: list[str]) -> None:
    terms = tuple(Term(tuple(word.split())) for word in words if word.split())
    assert isinstance(snippet([text], terms, begin="[", end="]"), str)
