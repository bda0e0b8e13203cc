"""JSON as it really is: what a fast parser refuses, but a person would read."""

import json
import math
import re
from typing import Any, Final, TypeVar

import msgspec
import orjson

T = TypeVar("T")
LARGEST: Final = 2**63
# `\ud800` to `\udbff` before no `\udc00` to `\udfff`, or one of these after none of those, and after no backslash. The
# part without alternatives comes first: by it the expression is searched for as fast as a text.
_HALF: Final = re.compile(
    rb"\\u[dD](?<!\\\\u[dD])(?:[89abAB][\da-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F][\da-fA-F]{2})"
)


class NotJson(ValueError):
    """The bytes are not JSON, or nest deeper than any parser goes."""


def parse(data: bytes) -> Any:
    """The document in `data`, always one that orjson can write again.

    orjson and msgspec refuse a lone surrogate escape (what JavaScript emits when it cuts a string inside an emoji),
    bytes that are not UTF-8, and numbers out of range. Then the standard library reads: such characters become U+FFFD,
    whole numbers out of range become floats, infinities null. Raises `NotJson`.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _parse_slowly(data)


def decode(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The part of `data` that `decoder` describes. Raises `NotJson`, or `msgspec.ValidationError` for another shape."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.convert(_parse_slowly(data), decoder.type)


def mend(data: bytes) -> bytes:
    """`data` with escaped halves of surrogate pairs replaced by U+FFFD, as `parse` does, but without reading it.

    A half that stands after an escaped backslash is left as it is.
    """
    return _HALF.sub(rb"\\ufffd", data)


def dump(value: Any) -> bytes:
    """`value` as compact JSON; what nests deeper than orjson writes, though it reads it, is written slowly."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _parse_slowly(data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig", errors="replace")
        return _scrub(json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=lambda _name: None))
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error) or type(error).__name__) from error


def _integer(digits: str) -> int | float | None:
    # Python refuses to convert thousands of digits: as a float they are out of range at once.
    number = int(digits) if len(digits) < 25 else 0  # noqa: PLR2004  # 2**63 has 19 digits
    return number if len(digits) < 25 and -LARGEST <= number < LARGEST else _finite(digits)  # noqa: PLR2004


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _scrub(value: Any) -> Any:
    """`value` with the halves of surrogate pairs, which no UTF-8 can hold, replaced."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_scrub(key): _scrub(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    return value
