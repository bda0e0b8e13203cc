"""Conditions of rules: a path of an enriched call compared with a value.

    {path = "call.analysis.structuredData.doNotCall", equals = true}
    {path = "facts.cost", above = 0.5, below = 2}

Comparisons of one condition must all hold. What a call does not tell equals nothing, is neither above nor below
anything and contains nothing; so `not_equals` holds for it. A text that reads as a number or as true or false compares
as one, for that is how analyses answer ("8", "true").
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from consumers.paths import WrongPath, path

Value = str | int | float | bool
understood: Final = lru_cache(maxsize=1024)(path)


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A path and what its value must be. `contains` looks for any of its texts, whatever their case, or list items."""

    path: str
    equals: Value | UnsetType = UNSET
    not_equals: Value | UnsetType = UNSET
    above: int | float | UnsetType = UNSET
    below: int | float | UnsetType = UNSET
    contains: str | tuple[str, ...] | UnsetType = UNSET
    one_of: tuple[Value, ...] | UnsetType = UNSET
    is_set: bool | UnsetType = UNSET

    def problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What the types cannot tell: where in the condition, and what is wrong."""
        try:
            understood(self.path)
        except WrongPath as error:
            yield ("path",), str(error)
        if not self._wanted():
            yield (), f"compares with nothing: add one of {', '.join(COMPARISONS)}"
        for name in ("one_of", "contains"):
            if getattr(self, name) in ((), ""):
                yield (name,), "holds never: it has nothing in it"

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Whether it holds for a call, given as `paths.document_of` makes it."""
        found = understood(self.path).of(document)
        return all(COMPARISONS[name](found, wanted) for name, wanted in self._wanted().items())

    def _wanted(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in COMPARISONS}
        return {name: wanted for name, wanted in told.items() if wanted is not UNSET}


def _equals(found: Any, wanted: Value) -> bool:
    if isinstance(found, str) and isinstance(wanted, bool):
        return found.strip().lower() == ("true" if wanted else "false")
    if isinstance(found, str) and not isinstance(wanted, str):
        return _number(found) == wanted
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)


def _not_equals(found: Any, wanted: Value) -> bool:
    return not _equals(found, wanted)


def _above(found: Any, wanted: float) -> bool:
    number = _number(found)
    return number is not None and number > wanted


def _below(found: Any, wanted: float) -> bool:
    number = _number(found)
    return number is not None and number < wanted


def _contains(found: Any, wanted: str | tuple[str, ...]) -> bool:
    among = (wanted,) if isinstance(wanted, str) else wanted
    if isinstance(found, str):
        text = found.casefold()  # once: a transcript may be half a megabyte
        return any(each.casefold() in text for each in among)
    return isinstance(found, list | tuple) and any(_equals(item, each) for item in found for each in among)


def _one_of(found: Any, wanted: tuple[Value, ...]) -> bool:
    return any(_equals(found, each) for each in wanted)


def _is_set(found: Any, wanted: bool) -> bool:
    return (found not in (None, "", [], {})) == wanted


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "equals": _equals,
    "not_equals": _not_equals,
    "above": _above,
    "below": _below,
    "contains": _contains,
    "one_of": _one_of,
    "is_set": _is_set,
}
