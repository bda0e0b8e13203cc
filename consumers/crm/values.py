"""What a mapping gives a property: what a path leads to, a text around paths, or a value as it stands.

    "facts.summary"                   what the path leads to
    "Outcome: {outcome.reason}"       a text with paths in braces; a line that lacks one of its values is left out
    "=Sales call", 7, true            that value; and "" takes away what is given by default

HubSpot takes every value as text, of at most 65,536 characters.
"""

import html
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from consumers.paths import path
from consumers.tolerant_json import dump

Given = str | int | float | bool
Source = Callable[[Mapping[str, Any]], str]
"""Tells a property's text of a call's document (`paths.document_of`); empty if the call does not have it."""

LONGEST: Final = 65536
CUT: Final = "…"
RICH: Final = "hs_call_body"
"""HubSpot shows it as HTML."""
PLACE: Final = re.compile(r"\{([^{}]+)\}")
AS_IT_STANDS: Final = "="


@lru_cache(maxsize=1024, typed=True)  # by type too, for True is 1
def source_of(name: str, given: Given) -> Source:
    """Understand what a mapping gives the property of that name. Raises `WrongPath`."""
    if not isinstance(given, str):
        return _constant(text_of(given))
    if not given or given.startswith(AS_IT_STANDS):
        return _constant(given.removeprefix(AS_IT_STANDS))
    if PLACE.search(given):
        return _template(given, is_rich=name == RICH)
    wanted = path(given)
    return lambda document: text_of(wanted.of(document))


def text_of(value: Any) -> str:
    """A value as HubSpot takes it: several choices are parted by semicolons, and objects are JSON."""
    match value:
        case None:
            return ""
        case str():
            return _cut(value.strip())
        case float() if value.is_integer():
            return str(int(value))
        case list() if all(isinstance(each, str | int | float) for each in value):
            return _cut(";".join(map(text_of, value)))
        case _:
            return _cut(dump(value).decode())


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - len(CUT)] + CUT


def _constant(text: str) -> Source:
    return lambda _document: text


def _template(template: str, *, is_rich: bool) -> Source:
    lines = [(line, [path(place) for place in PLACE.findall(line)]) for line in template.splitlines()]

    def told(document: Mapping[str, Any]) -> str:
        filled = (_filled(line, [text_of(each.of(document)) for each in paths], is_rich) for line, paths in lines)
        text = "\n".join(line for line in filled if line is not None).strip()
        return _cut(text.replace("\n", "<br>") if is_rich else text)

    return told


def _filled(line: str, values: list[str], is_rich: bool) -> str | None:
    """The line with its values, which are no HTML even where the template is; None if it lacks one."""
    if not all(values):
        return None
    left = iter(html.escape(value, quote=False) if is_rich else value for value in values)
    return PLACE.sub(lambda _place: next(left), line)
