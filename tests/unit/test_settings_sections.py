"""Problems of tables in aftercall.toml are told with their lines."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from worker.settings import sections
from worker.settings.lines import line_of
from worker.settings.sections import File, take_sections


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    above: float = 0


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[Rule] = []
    words: dict[str, str] = {}

    def problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for name, word in self.words.items():
            if word == "bad":
                yield ("words", name), "is a bad word"


TEXT = '''AFTERCALL_PREFETCH = 3
# [table] is only a comment
[table.words]
one = "good"
two = "bad"
note = """
[[table.rules]]
"""

[[table.rules]]
name = "first"

[[ table . rules ]]
name = "second"
above = "high"

[named.ops]
name = 3

[named.dev]
wrong = 1
'''


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    kinds = {"table": Table, "named": dict[str, Rule]}
    monkeypatch.setattr(sections, "SECTIONS", kinds)
    return kinds


def problems_of(text: str) -> list[str]:
    file = File("aftercall.toml", text, [])
    take_sections(tomllib.loads(text), file)
    return file.problems


def test_a_wrong_type_and_an_unknown_key_are_told_with_line_and_key() -> None:
    assert problems_of(TEXT) == [
        "aftercall.toml, line 15: table.rules[1].above: Expected `float`, got `str`",
        "aftercall.toml, line 18: named.ops.name: Expected `str`, got `int`",
        "aftercall.toml, line 21: named.dev.wrong: this is no key of that table",
    ]


def test_of_several_tables_of_a_list_each_tells_its_own_problem_at_its_own_line() -> None:
    text = TEXT.replace('name = "first"', "nam = 3").replace("[table.words]", "[table]\nword = 2\n[table.words]")
    assert problems_of(text)[:3] == [
        "aftercall.toml, line 13: table.rules[0].nam: this is no key of that table",
        "aftercall.toml, line 17: table.rules[1].above: Expected `float`, got `str`",
        "aftercall.toml, line 4: table.word: this is no key of that table",
    ]


def test_what_types_cannot_tell_is_told_with_its_line_too() -> None:
    assert problems_of(TEXT.replace('above = "high"', "")) == [
        "aftercall.toml, line 5: table.words.two: is a bad word",
        "aftercall.toml, line 18: named.ops.name: Expected `str`, got `int`",
        "aftercall.toml, line 21: named.dev.wrong: this is no key of that table",
    ]


def test_a_missing_key_is_told_at_its_table() -> None:
    assert problems_of("[named.ops]\nabove = 1\n") == [
        "aftercall.toml, line 1: named.ops: Object missing required field `name`"
    ]


def test_a_table_that_is_none_is_told() -> None:
    assert problems_of("table = 3\n") == ["aftercall.toml, line 1: table: Expected `object`, got `int`"]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("AFTERCALL_PREFETCH",), 1),
        (("table", "words"), 3),
        (("table", "words", "two"), 5),
        (("table", "rules", 0, "name"), 11),
        (("table", "rules", 1), 13),
        (("table", "rules", 1, "missing"), 13),
        (("nowhere",), 1),
    ],
)
def test_a_place_has_a_line_or_that_of_the_table_above_it(place: tuple[str | int, ...], line: int) -> None:
    assert line_of(place, TEXT) == line
