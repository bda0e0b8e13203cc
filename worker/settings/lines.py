"""Where a key stands in a TOML file: `tomllib` does not tell, and an operator is better sent to a line."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

Place = tuple[str | int, ...]
"""A key's way from the root of the document: names, and numbers in arrays of tables."""

KEY: Final = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
DOTTED: Final = rf"{KEY}(?:\s*\.\s*{KEY})*"
LINE: Final = re.compile(
    rf"\s*(?:\[\[\s*(?P<each>{DOTTED})\s*\]\]|\[\s*(?P<table>{DOTTED})\s*\]|(?P<key>{DOTTED})\s*=)"
)
TEXT_OVER_LINES: Final = re.compile(r'"""|\'\'\'')


def line_of(place: Place, text: str) -> int:
    """The line of a place in a TOML text, or of the nearest table above it that has one; counted from 1."""
    lines = _lines(text)
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _lines(text: str) -> Mapping[Place, int]:
    found: dict[Place, int] = {}
    counts: Counter[Place] = Counter()
    table: Place = ()
    for number, line in _outside_texts(text):
        match = LINE.match(line)
        if match is None:
            continue
        if match["key"]:
            found.setdefault((*table, *_names(match["key"])), number)
            continue
        table = _numbered(_names(match["each"] or match["table"]), counts)
        if match["each"]:
            counts[table] += 1
            table = (*table, counts[table] - 1)
        found.setdefault(table, number)
    return found


def _numbered(names: Place, counts: Counter[Place]) -> Place:
    """`rules.when` after two `[[rules]]` belongs to the second."""
    place: Place = ()
    for index, name in enumerate(names):
        place = (*place, name)
        if counts[place] and index < len(names) - 1:
            place = (*place, counts[place] - 1)
    return place


def _names(dotted: str) -> Place:
    return tuple(name.strip("\"'") for name in re.findall(KEY, dotted))


def _outside_texts(text: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, but for those within a text that goes over several."""
    is_inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not is_inside:
            yield number, line
        is_inside ^= len(TEXT_OVER_LINES.findall(line)) % 2 == 1
