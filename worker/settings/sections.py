"""The tables of `aftercall.toml` that one subscriber reads: its rules and mappings, each problem with its line."""

import re
from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin

import msgspec

from worker.settings.fields import SECTIONS
from worker.settings.lines import Place, line_of

WHERE: Final = re.compile(r"(?P<problem>.*?) - at `(?:key in )?\$?(?P<where>[^`]*)`", re.DOTALL)
UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class File(msgspec.Struct, frozen=True):
    """`aftercall.toml`: its text, for the lines, and where to put what is wrong with it."""

    name: str
    text: str
    problems: list[str]

    def complain(self, place: Place, told: str) -> None:
        """Note a problem with its line and key."""
        key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
        self.problems.append(f"{self.name}, line {line_of(place, self.text)}: {key}: {told}")


def take_sections(document: dict[str, Any], file: File) -> dict[str, Any]:
    """Take each subscriber's table out of the document, converted to its type; one that is wrong is left out."""
    present = [name for name in SECTIONS if name in document]
    found = {name: _section((name,), document.pop(name), SECTIONS[name], file) for name in present}
    return {name: section for name, section in found.items() if section is not None}


def _section(place: Place, table: Any, kind: Any, file: File) -> Any:
    """One table; each of a mapping's on its own, so that the problems of all are told at once."""
    if get_origin(kind) is dict and isinstance(table, dict):
        each = get_args(kind)[1]
        return {key: _section((*place, key), value, each, file) for key, value in table.items()}
    section = _converted(place, table, kind, file)
    for where, told in getattr(section, "problems", tuple)():
        file.complain((*place, *where), told)
    return section


def _converted(place: Place, table: Any, kind: Any, file: File) -> Any:
    """A table as its type; the first that is wrong in it is told, and in each of the tables that it has lists of."""
    wrong = [
        name
        for name, each in _lists_of_tables(table, kind)
        if None in [_converted((*place, name, index), row, each, file) for index, row in enumerate(table[name])]
    ]
    rest = {key: value for key, value in table.items() if key not in wrong} if wrong else table
    try:
        section = msgspec.convert(rest, kind)
    except msgspec.ValidationError as error:
        _complain_of(place, str(error), file)
        return None
    return None if wrong else section


def _lists_of_tables(table: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    """The keys that hold lists of tables, as `[[alerts.rules]]` is, and the type of these."""
    for field in msgspec.structs.fields(kind) if isinstance(table, dict) else ():
        each = next(iter(get_args(field.type)), None)
        is_table = isinstance(each, type) and issubclass(each, msgspec.Struct)
        if is_table and isinstance(table.get(field.encode_name), list):
            yield field.encode_name, each


def _complain_of(place: Place, error: str, file: File) -> None:
    match = WHERE.fullmatch(error)
    told, where = (match["problem"], match["where"]) if match else (error, "")
    place = (*place, *_steps(where))
    if unknown := UNKNOWN.fullmatch(told):
        place, told = (*place, unknown["name"]), "this is no key of that table"
    file.complain(place, told)


def _steps(where: str) -> Iterator[str | int]:
    for name, number in STEP.findall(where):
        yield int(number) if number else name
