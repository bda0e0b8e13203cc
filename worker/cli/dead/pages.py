"""How letters are shown: as lines, as one page, as JSON."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from consumers.dead_letters import Letter, row_of
from consumers.messages import OURS, unpack
from consumers.timestamps import iso
from consumers.tolerant_json import NotJson, parse
from worker.broker.walk import Found
from worker.cli.output import json_item

NOTHING: Final = "-"
TOLD: Final = frozenset(
    f"{OURS}{name}" for name in ("detail", "queue", "reason", "attempt", "died-at", "error-type", "account")
)
"""Headers that the page shows elsewhere already."""


def letters(count: int) -> str:
    """`1 letter`, `2,000 letters`."""
    return "1 letter" if count == 1 else f"{count:,} letters"


def so_many(count: int) -> str:
    """How many letters there are, as a sentence."""
    return f"{letters(count)}." if count else "No dead letters."


def dashed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for people: with a dash where there is nothing."""
    return {key: NOTHING if value in (None, "") else value for key, value in row.items()}


def json_line(letter: Letter, count: int) -> str:
    """A letter as a part of a JSON list that is written as the letters come; `count` were written before."""
    return json_item(row_of(letter), count)


class Lines:
    """A table that is written as the letters come: its widths are known before."""

    def __init__(self, queues: Sequence[str]) -> None:
        queue = max(map(len, queues), default=0)
        self._widths = {
            "id": 12,
            "queue": queue,
            "reason": 14,
            "callId": 36,
            "account": 12,
            "attempts": 8,
            "diedAt": 24,
        }

    def line(self, letter: Letter, count: int) -> str:
        """The letter's line, and before the first the names of the columns."""
        heading = self._line({name: name for name in self._widths}, "error") if count == 0 else ""
        return heading + self._line(dashed(row_of(letter)), letter.error)

    def _line(self, row: Mapping[str, Any], error: str) -> str:
        return (
            "  ".join([*(str(row[name]).ljust(width) for name, width in self._widths.items()), error]).rstrip() + "\n"
        )


def body_of(found: Found) -> bytes:
    """The body as it was before it travelled; as it lies there if it cannot be unpacked."""
    try:
        return unpack(found.delivery)
    except ValueError:
        return found.delivery.body


def document(found: Found) -> dict[str, Any]:
    """All of a letter as JSON has it; a body that is no JSON in base64."""
    letter = found.letter
    story = {"detail": letter.detail, "errorType": letter.error_type, "liesIn": letter.lies_in}
    came = {"exchange": letter.exchange, "routingKey": letter.routing_key, "type": found.delivery.type}
    return row_of(letter) | story | came | {"headers": _plain(found.delivery.headers)} | _json_body(body_of(found))


def _json_body(body: bytes) -> dict[str, Any]:
    try:
        return {"body": parse(body)}
    except NotJson:
        return {"bodyBase64": base64.b64encode(body).decode()}


def _plain(value: Any) -> Any:
    """A header's value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime):
        return iso(value.timestamp())
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def page(found: Found) -> str:
    """A letter on one page: its story, its headers, its body."""
    letter, delivery = found.letter, found.delivery
    where = {"liesIn": letter.lies_in, "exchange": letter.exchange, "routingKey": letter.routing_key}
    headers = {key: value for key, value in _plain(delivery.headers).items() if key not in TOLD}
    zipped = ", gzip" if delivery.content_encoding == "gzip" else ""
    parts = [
        _pairs(dashed(row_of(letter) | where | {"errorType": letter.error_type})),
        f"\ndetail\n{_indented(letter.detail or NOTHING)}",
        f"\nheaders\n{_pairs(headers, '  ')}",
        f"\nbody ({len(delivery.body):,} bytes{zipped})\n{_indented(_pretty(body_of(found)))}",
    ]
    return "".join(parts)


def _pairs(pairs: Mapping[str, Any], margin: str = "") -> str:
    width = max(map(len, pairs), default=0)
    return "".join(f"{margin}{key.ljust(width)}  {value}\n" for key, value in pairs.items())


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.rstrip().splitlines())


def _pretty(body: bytes) -> str:
    try:
        return orjson.dumps(parse(body), option=orjson.OPT_INDENT_2).decode()
    except NotJson:
        return body.decode("utf-8", "backslashreplace")
