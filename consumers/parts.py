"""A JSON object part by part: what nobody asks for is passed over as bytes, and never built.

Most of a report is there twice, in the webhook and in the API's answer, which wins. To build it only to drop it was a
fifth of what a call of 300 KB cost (docs/decisions/0023).
"""

import re
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec

from consumers.outcomes import Undecodable
from consumers.tolerant_json import LARGEST, NotJson, parse

HOLLOW: Final = (str, list, dict)
_HOLE: Final = re.compile(rb'null|""|\[\s*\]|\{\s*\}')
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TROUBLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_Integer = Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST - 1)]
_Part = dict[str, msgspec.Raw] | list[msgspec.Raw] | str | _Integer | float | bool | None


class _Split(msgspec.Struct):
    message: dict[str, _Part]


class _Whole(msgspec.Struct):
    message: dict[str, msgspec.Raw]


_ENVELOPES: Final = (msgspec.json.Decoder(_Split), msgspec.json.Decoder(_Whole))
"""By the first, objects are split in the same pass, since to pass over a body costs by the byte; it refuses more."""


def parts_of_message(body: bytes) -> Any:
    """What `message` holds in a server message: the parts of an object, and of each object in it. Raises `NotJson`."""
    for envelope in _ENVELOPES:
        with suppress(*_TROUBLE):
            return envelope.decode(body).message
    document = parse(body)
    return document.get("message") if isinstance(document, dict) else None


def parts_of(part: Any) -> dict[str, Any] | None:
    """The parts of a part; None if that is no object."""
    if type(part) is not msgspec.Raw:
        return part if isinstance(part, dict) else None
    try:
        return _OBJECT.decode(part)
    except _TROUBLE:
        return parts_of(value_of(part))


def value_of(part: Any) -> Any:
    """The whole value of a part. Raises `Undecodable`, though what could be passed over can nearly always be read."""
    if isinstance(part, dict):
        return {key: _read(each) for key, each in part.items()}
    return [_read(each) for each in part] if isinstance(part, list) else _read(part)


def _read(part: Any) -> Any:
    if type(part) is not msgspec.Raw:
        return part
    try:
        return parse(bytes(part))
    except NotJson as error:
        raise Undecodable(f"not JSON: {error}") from error


def is_hole(part: Any) -> bool:
    """Whether there is nothing in a part: null, or an empty text, list or object. 0 and false are something."""
    if type(part) is msgspec.Raw:
        return _HOLE.fullmatch(part) is not None
    return part is None or (not part and isinstance(part, HOLLOW))
