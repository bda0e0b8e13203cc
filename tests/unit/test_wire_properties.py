"""Content headers: what is written is what others read, and what they write is read as far as it can be."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from worker.broker.wire.properties import (
    CORRELATION_ID,
    HEAD,
    HEADERS,
    TIMESTAMP,
    TYPE,
    read_header,
    read_table,
    write_header,
    write_table,
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
SHORT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)  # pamqp cuts a key at 128 bytes
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHORT, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(SHORT, VALUES, max_size=6), SHORT, SHORT)
def test_what_is_written_is_what_pamqp_reads(headers: dict[str, Any], call_id: str, type_: str) -> None:
    told = {"content_type": "application/json", "content_encoding": None, "correlation_id": call_id, "type_": type_}
    written = write_header(7, headers, message_id="m", at=1_800_000_000.9, **cast("dict[str, Any]", told))

    header = ContentHeader()
    header.unmarshal(written)

    read = header.properties
    assert (header.body_size, read.delivery_mode, read.app_id, read.message_id) == (7, 2, "aftercall", "m")
    assert (read.headers or {}, read.correlation_id or "", read.message_type or "") == (headers, call_id, type_)
    assert (read.content_type, read.content_encoding) == ("application/json", None)
    assert read.timestamp is not None
    assert read.timestamp.timestamp() == 1_800_000_000


@given(st.dictionaries(SHORT, VALUES, max_size=6), st.none() | SHORT, st.none() | SHORT, st.none() | st.integers(0, 9))
def test_what_pamqp_writes_is_read_alike(
    headers: dict[str, Any], reply_to: str | None, correlation_id: str | None, priority: int | None
) -> None:
    given_ = {"headers": headers, "reply_to": reply_to, "correlation_id": correlation_id, "priority": priority}
    properties = Basic.Properties(**cast("dict[str, Any]", given_), message_id="m", message_type="t", app_id="other")

    size, told = read_header(ContentHeader(body_size=9, properties=properties).marshal())

    assert size == 9
    expected = {key: value for key, value in given_.items() if value not in (None, "")} | {
        "message_id": "m",
        "type": "t",
    }
    assert {key: value for key, value in told.items() if value not in (None, "", {})} == {
        key: value for key, value in expected.items() if value != {}
    }


def test_header_text_that_is_no_utf_8_comes_as_bytes_and_goes_out_again() -> None:
    table = write_table({"x": b"\xff\xfe"})
    assert read_table(table.replace(b"\x01xx\x00", b"\x01xS\x00"), 0)[0] == {"x": b"\xff\xfe"}
    assert read_table(table, 0)[0] == {"x": b"\xff\xfe"}


def header(flags: int, *parts: bytes) -> bytes:
    return HEAD.pack(60, 0, 5, flags) + b"".join(parts)


@pytest.mark.parametrize("instant", [1_800_000_000_000_000, 2**63, 2**64 - 1])
def test_an_instant_that_python_cannot_hold_is_none_and_the_rest_is_read(instant: int) -> None:
    payload = header(CORRELATION_ID | TIMESTAMP | TYPE, b"\x01c", instant.to_bytes(8), b"\x01t")

    assert read_header(payload) == (5, {"correlation_id": "c", "timestamp": None, "type": "t"})


def nested(depth: int) -> bytes:
    value = b"V"
    for _ in range(depth):
        value = b"A" + len(value).to_bytes(4) + value
    return value


@pytest.mark.parametrize(
    "value",
    [b"T" + b"\xff" * 8, b"F\x00\x00\x00\x03\x01\xffV", b"?", nested(5000)],
    ids=["time", "key", "kind", "depth"],
)
def test_headers_that_cannot_be_read_are_none_and_end_no_connection(value: bytes) -> None:
    table = b"\x01x" + value

    size, told = read_header(header(HEADERS | 1 << 15, b"\x04text", len(table).to_bytes(4), table))

    assert (size, told["content_type"]) == (5, "text")
