import json

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.tolerant_json import NotJson, decode, mend, parse
from tests.unit.builders import JSON, SAMPLES


class Named(msgspec.Struct):
    name: str
    size: int = 0


NAMED = msgspec.json.Decoder(Named)
# What a sender may make of a text: every code point, halves of surrogate pairs among them, escaped or not.
ANY_TEXT = st.text(st.characters(), max_size=6)


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.json")))
def test_every_sample_is_read_as_the_standard_library_reads_it(name: str) -> None:
    body = (SAMPLES / name).read_bytes()
    assert parse(body) == json.loads(body)


@given(JSON)
def test_what_fast_parsers_read_is_left_as_they_read_it(value: object) -> None:
    assert parse(orjson.dumps(value)) == value


@given(
    st.recursive(
        ANY_TEXT | st.integers() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)
    )
)
def test_whatever_is_read_can_be_written_again(value: object) -> None:
    """`json.dumps` writes NaN, infinities, integers of any size and lone surrogates, as senders do."""
    read = parse(json.dumps(value).encode())
    assert orjson.loads(orjson.dumps(read)) == read


@given(st.lists(ANY_TEXT | st.sampled_from(["\\", "\ud83d", "\ude00", "\\ud83d", "\\\ud83d"])).map("".join))
def test_what_is_mended_is_read_as_before_and_fast_unless_a_half_follows_a_backslash(text: str) -> None:
    body = json.dumps([text]).encode()
    mended = mend(body)

    assert parse(mended) == parse(body)
    if "\\" not in text:
        assert orjson.loads(mended) == parse(body)


@given(st.binary(max_size=40))
def test_any_bytes_are_either_read_and_can_be_written_or_are_not_json(data: bytes) -> None:
    try:
        read = parse(data)
    except NotJson:
        return
    assert orjson.loads(orjson.dumps(read)) == read


@given(st.text(max_size=5), st.binary(max_size=5))
def test_bytes_that_are_no_utf_8_spoil_only_the_text_they_stand_in(before: str, garbage: bytes) -> None:
    body = b'{"good": %b, "bad": "%b"}' % (
        orjson.dumps(before),
        garbage.replace(b'"', b"").replace(b"\\", b"") + b"\xff",
    )
    body = bytes(byte for byte in body if byte >= 0x20)
    assert parse(body)["good"] == before


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'["\\ud83d"]', ["\ufffd"]),
        (b'["\\ude00 x"]', ["\ufffd x"]),
        (b'["\\ud83d\\ude00", "\\ud83d"]', ["\U0001f600", "\ufffd"]),
        (b'{"\\ud83d": 1}', {"\ufffd": 1}),
        (b'["caf\xe9"]', ["caf\ufffd"]),
        (b'["\xff"]', ["\ufffd"]),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[NaN]", [None]),
        (b"[Infinity, -Infinity]", [None, None]),
        (b"[1e999]", [None]),
        (b"[-1e999]", [None]),
        (b"[1" + b"0" * 5000 + b"]", [None]),
        (b"[18446744073709551616]", [1.8446744073709552e19]),
        (b'["\\ud83d", 9223372036854775807]', ["\ufffd", 9223372036854775807]),
        (b'["\\ud83d", 99999999999999999999]', ["\ufffd", 1e20]),
        (b'["\\ud83d", 1e5, -0.5]', ["\ufffd", 1e5, -0.5]),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": 1, "a": "\\ud83d"}', {"a": "\ufffd"}),
    ],
)
def test_json_as_it_really_is_is_read(body: bytes, value: object) -> None:
    assert parse(body) == value


@pytest.mark.parametrize(
    "body", [b"", b"   ", b"{", b"[1,]", b"{'a': 1}", b"<html>", b'"open', b"\x00", b"\x1f\x8b\x08", b"[01]"]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        parse(body)


def test_a_body_nested_a_hundred_thousand_deep_is_no_json_and_no_crash() -> None:
    with pytest.raises(NotJson):
        parse(b"[" * 100_000 + b"]" * 100_000)


def test_a_deeply_nested_body_with_a_lone_surrogate_is_refused_rather_than_a_crash() -> None:
    with pytest.raises(NotJson):
        parse(b"[" * 100_000 + b'"\\ud83d"' + b"]" * 100_000)


def test_a_part_is_decoded_fast_where_the_rest_is_sound() -> None:
    assert decode(b'{"name": "n", "size": 3, "other": [1]}', NAMED) == Named("n", 3)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "n", "x": "\\ud83d"}',
        b'\xef\xbb\xbf{"name": "n"}',
        b'{"name": "n", "x": NaN}',
        b'{"name": "n", "x": "\xff"}',
    ],
)
def test_a_part_is_decoded_though_the_rest_is_odd(body: bytes) -> None:
    assert decode(body, NAMED) == Named("n")


def test_a_part_that_is_odd_itself_is_decoded_with_the_odd_characters_replaced() -> None:
    assert decode(b'{"name": "n\\ud83d"}', NAMED) == Named("n\ufffd")


@pytest.mark.parametrize(
    "body", [b'{"name": 1}', b'{"size": 1}', b"[]", b'{"name": 1, "x": "\\ud83d"}', b'{"size": NaN}']
)
def test_another_shape_is_told_from_no_json(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(body, NAMED)


@pytest.mark.parametrize("body", [b"", b'{"name": ', b'{"x": ' * 1_000_000 + b"1" + b"}" * 1_000_000])
def test_no_json_is_told_from_another_shape(body: bytes) -> None:
    with pytest.raises(NotJson):
        decode(body, NAMED)
