"""Paths into an enriched call, as rules and mappings write them: `call.analysis.structuredData.doNotCall`.

    name            a key of an object; in double quotes if it holds a dot, a bracket or a quote: call.metadata."a.b"
    [0], [-1]       a place in a list, from its beginning or its end
    [name=Summary]  of a list, or of an object's values, the first whose key has that value

The roots are those of the enriched call, and `facts` for what is told from it (`consumers.facts`).
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from consumers.drift import KNOWN_FIELDS
from consumers.enriched import EnrichedCall
from consumers.facts import Facts, facts_of

STEP: Final = re.compile(
    r"""(?P<dot>\.)?(?:(?P<name>[^."\[\]]+)|"(?P<quoted>[^"]*)")|\[(?P<place>-?\d+)\]|\[(?P<key>[\w.-]+)=(?P<value>[^\]]*)\]"""
)
FACTS: Final = "facts"
OPEN: Final = "call"

Step = str | int | tuple[str, str]
"""A key, a place, or the key and value of what is chosen."""


class WrongPath(ValueError):
    """A path that leads nowhere in any enriched call, or is none; the text says where it goes wrong."""


class Path(msgspec.Struct, frozen=True):
    """A path that was understood: its text and its steps."""

    text: str
    steps: tuple[Step, ...]

    def of(self, document: Any) -> Any:
        """What it leads to in a document of `document_of`; None if there is nothing."""
        for step in self.steps:
            document = _next(document, step)
        return document


def path(text: str) -> Path:
    """Understand a path. Raises `WrongPath`."""
    found = Path(text, tuple(_steps(text)))
    _check_names(found)
    return found


def document_of(call: EnrichedCall) -> dict[str, Any]:
    """An enriched call as paths read it: its JSON document, and its facts."""
    document: dict[str, Any] = msgspec.to_builtins(call)
    return document | {FACTS: msgspec.to_builtins(facts_of(call))}


def _steps(text: str) -> list[Step]:
    steps: list[Step] = []
    end = 0
    for match in STEP.finditer(text):
        is_name = match["name"] is not None or match["quoted"] is not None
        if match.start() != end or (is_name and bool(steps) != bool(match["dot"])):
            break
        steps.append(_step(match))
        end = match.end()
    if not steps or end != len(text):
        raise WrongPath(f"{text!r} is no path: it goes wrong at {text[end:][:20]!r}; one is call.analysis.summary")
    return steps


def _step(match: re.Match[str]) -> Step:
    if match["place"] is not None:
        return int(match["place"])
    if match["key"] is not None:
        return (match["key"], match["value"])
    return match["name"] if match["name"] is not None else match["quoted"]


def _check_names(found: Path) -> None:
    """Whether the names that are ours exist, and those of Vapi's, which may be new any day, are not merely misspelt."""
    root, *rest = found.steps
    if root not in ROOTS:
        raise WrongPath(f"{found.text!r} begins with {root!r}: {_nearest(str(root), ROOTS)}")
    if rest and (known := ROOTS[root]) and rest[0] not in known:
        told = _nearest(str(rest[0]), known)
        if root != OPEN or told.startswith("did"):
            raise WrongPath(f"{found.text!r}: {root} has no {rest[0]!r}: {told}")


def _nearest(name: str, known: Mapping[str, Any] | frozenset[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.8)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"


def _next(value: Any, step: Step) -> Any:
    match step, value:
        case str(), dict():
            return value.get(step)
        case int(), list():
            return value[step] if -len(value) <= step < len(value) else None
        case (str(key), wanted), dict() | list():
            among = value.values() if isinstance(value, dict) else value
            return next((each for each in among if isinstance(each, dict) and str(each.get(key)) == wanted), None)
    return None


def _names(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind))


def _known(field: msgspec.structs.FieldInfo) -> frozenset[str]:
    if field.name == OPEN:
        return KNOWN_FIELDS
    is_record = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    return _names(field.type) if is_record else frozenset()


ROOTS: Final[Mapping[Any, frozenset[str]]] = {
    **{field.encode_name: _known(field) for field in msgspec.structs.fields(EnrichedCall)},
    FACTS: _names(Facts),
}
