"""Content headers: a message's properties as bytes, there and back.

Text and whole numbers, which is what nearly all of ours are, are written and read here; pamqp does the rest.
Source: AMQP 0-9-1, section 4.2.5.5, in RabbitMQ's dialect (https://www.rabbitmq.com/docs/amqp-0-9-1-errata).
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from pamqp import decode, encode

HEAD: Final = Struct(">HHQH")
"""Class, weight, size of the body, and a flag for each property that follows."""
BASIC: Final = 60
PERSISTENT: Final = b"\x02"
_LONG: Final = Struct(">I")
_SIGNED: Final = Struct(">i")
_BIG: Final = Struct(">q")
_TIME: Final = Struct(">Q")
SHORT_MAX: Final = 255

CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE, CORRELATION_ID, MESSAGE_ID, TIMESTAMP, TYPE, APP_ID = (
    *(1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 10, 1 << 7, 1 << 6, 1 << 5, 1 << 3),
)
ALWAYS: Final = HEADERS | DELIVERY_MODE | MESSAGE_ID | TIMESTAMP | APP_ID
APP: Final = b"\x09aftercall"


def write_header(  # noqa: PLR0913  # a property each
    body_size: int,
    headers: Mapping[str, Any],
    *,
    message_id: str,
    at: float,
    content_type: str | None,
    content_encoding: str | None,
    correlation_id: str,
    type_: str,
) -> bytes:
    """The content header of a persistent message. Raises `TypeError` and `ValueError` for what AMQP cannot carry."""
    flags, parts = ALWAYS, []
    for flag, text in ((CONTENT_TYPE, content_type), (CONTENT_ENCODING, content_encoding)):
        if text:
            flags |= flag
            parts.append(_short(text))
    parts += (write_table(headers), PERSISTENT)
    if correlation_id:
        flags |= CORRELATION_ID
        parts.append(_short(correlation_id))
    parts += (_short(message_id), _TIME.pack(int(at)))
    if type_:
        flags |= TYPE
        parts.append(_short(type_))
    return b"".join((HEAD.pack(BASIC, 0, body_size, flags), *parts, APP))


def write_table(table: Mapping[str, Any]) -> bytes:
    """A table with the length that it begins with."""
    rows = b"".join([_key(key) + _value(value) for key, value in table.items()])
    return _LONG.pack(len(rows)) + rows


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return b"S" + _LONG.pack(len(text)) + text
    if isinstance(value, bytes):  # text that is not UTF-8 is read as bytes
        return b"x" + _LONG.pack(len(value)) + value
    if isinstance(value, dict):
        return b"F" + write_table(value)
    if isinstance(value, list):
        items = b"".join([_value(item) for item in value])
        return b"A" + _LONG.pack(len(items)) + items
    return encode.encode_table_value(value)


@lru_cache(maxsize=1024)
def _key(key: str) -> bytes:
    return _short(key)


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > SHORT_MAX:
        raise ValueError(f"{len(raw)} bytes of text where AMQP takes {SHORT_MAX}")
    return bytes((len(raw),)) + raw


def read_header(payload: bytes) -> tuple[int, dict[str, Any]]:
    """The size of the body that follows, and the properties by name, up to one that cannot be read.

    What AMQP carries, Python may not hold; the connection, and all that is in hand, is not to end of it.
    """
    _, _, body_size, flags = HEAD.unpack_from(payload)
    told: dict[str, Any] = {}
    at = HEAD.size
    with suppress(Exception):
        for flag, name, read in _PROPERTIES:
            if flags & flag:
                told[name], at = read(payload, at)
    return body_size, told


def short_text(buffer: bytes, at: int) -> tuple[str, int]:
    """The short string that begins there, and where it ends."""
    end = at + 1 + buffer[at]
    return buffer[at + 1 : end].decode(errors="replace"), end


def _octet(buffer: bytes, at: int) -> tuple[int, int]:
    return buffer[at], at + 1


def _timestamp(buffer: bytes, at: int) -> tuple[Any, int]:
    with suppress(ValueError, OverflowError):  # after the year 9999
        return decode.timestamp(buffer[at : at + 8])[1], at + 8
    return None, at + 8


def read_table(buffer: bytes, at: int) -> tuple[dict[str, Any], int]:
    """The table that begins there, and where it ends."""
    (size,) = _LONG.unpack_from(buffer, at)
    begin, end = at + 4, at + 4 + size
    table: dict[str, Any] = {}
    at = begin
    while at < end:
        key, at = short_text(buffer, at)
        kind = buffer[at]
        if kind == _TEXT:
            until = at + 5 + _LONG.unpack_from(buffer, at + 1)[0]
            table[key], at = _text(buffer[at + 5 : until]), until
        elif kind in _NUMBERS:
            number = _NUMBERS[kind]
            table[key], at = number.unpack_from(buffer, at + 1)[0], at + 1 + number.size
        else:
            used, table[key] = decode.embedded_value(buffer[at:end])
            at += used
    return table, end


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


_TEXT: Final = ord("S")
_NUMBERS: Final = {ord("b"): Struct(">b"), ord("s"): Struct(">h"), ord("I"): _SIGNED, ord("l"): _BIG}
_PROPERTIES: Final[tuple[tuple[int, str, Callable[[bytes, int], tuple[Any, int]]], ...]] = (
    (CONTENT_TYPE, "content_type", short_text),
    (CONTENT_ENCODING, "content_encoding", short_text),
    (HEADERS, "headers", read_table),
    (DELIVERY_MODE, "delivery_mode", _octet),
    (1 << 11, "priority", _octet),
    (CORRELATION_ID, "correlation_id", short_text),
    (1 << 9, "reply_to", short_text),
    (1 << 8, "expiration", short_text),
    (MESSAGE_ID, "message_id", short_text),
    (TIMESTAMP, "timestamp", _timestamp),
    (TYPE, "type", short_text),
)
"""Those that stand before what we ask for, and what we ask for, in their order."""
