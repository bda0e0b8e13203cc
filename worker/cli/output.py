"""Printing data: tables for people, JSON for programs. Results go to standard output, everything else to the other."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import orjson

Format = Literal["text", "json"]


def print_rows(rows: Sequence[Mapping[str, Any]], output: Format) -> None:
    """Print `rows` as an aligned table, or as one JSON list."""
    if output == "json":
        print_json(rows)
    else:
        sys.stdout.writelines(line + "\n" for line in _table(rows))


def print_json(value: Any) -> None:
    """Print `value` as indented JSON."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def json_item(value: Any, count: int) -> str:
    """A part of a JSON list that is written as it comes; `count` were written before."""
    return ("[\n  " if count == 0 else ",\n  ") + orjson.dumps(value).decode()


def json_end(count: int) -> str:
    """The end of such a list of `count`."""
    return "\n]\n" if count else "[]\n"


def say(text: str) -> None:
    """Tell a person something that is no data."""
    sys.stderr.write(text + "\n")


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if not rows:
        return
    names = list(rows[0])
    lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
