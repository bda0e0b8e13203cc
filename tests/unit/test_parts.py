"""Reading a report part by part tells nothing else than reading it whole."""

import copy
import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.merge import join
from consumers.outcomes import Undecodable
from consumers.parts import is_hole, parts_of, parts_of_message, value_of
from consumers.readiness import missing_from
from consumers.tolerant_json import NotJson, parse
from tests.unit.builders import JSON, OBJECTS


def in_parts(report: dict[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = parts_of_message(orjson.dumps({"message": report}))
    return parts


@given(OBJECTS, OBJECTS | st.none())
def test_a_report_in_parts_joins_as_the_whole_one_does(told: dict[str, Any], known: dict[str, Any] | None) -> None:
    whole = join(copy.deepcopy(told), copy.deepcopy(known))
    assert join(in_parts(told), copy.deepcopy(known)) == whole
    assert missing_from(whole.call, in_parts(told), asked=True) == missing_from(whole.call, told, asked=True)


@given(JSON)
def test_the_value_of_a_part_is_what_was_written(value: Any) -> None:
    part = in_parts({"a": value})["a"]
    assert value_of(part) == parse(orjson.dumps(value))
    assert is_hole(part) == is_hole(value)
    assert (parts_of(part) is None) == (not isinstance(value, dict))


@given(st.integers(-(2**80), 2**80))
def test_a_whole_number_is_the_one_that_the_whole_report_has(number: int) -> None:
    body = b'{"message": {"a": %d, "b": {"c": [%d]}}}' % (number, number)
    parts = parts_of_message(body)
    assert {key: value_of(part) for key, part in parts.items()} == parse(body)["message"]


@pytest.mark.parametrize("text", ["null", '""', "[]", "{}", "[ \n]", "{\t}"])
def test_a_hole_is_one_however_it_is_written(text: str) -> None:
    assert is_hole(parts_of_message(b'{"message": {"a": %b}}' % text.encode())["a"])


@pytest.mark.parametrize("text", ["0", "false", '" "', "[null]", '{"a": null}', '"\\u0000"'])
def test_what_holds_something_is_no_hole(text: str) -> None:
    assert not is_hole(parts_of_message(b'{"message": {"a": %b}}' % text.encode())["a"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"message": {"a": "\\ud83d", "b": 1}}',  # half of an emoji
        b'{"message": {"a": "\xff", "b": 1}}',
        b'{"message": {"a": 1e999, "b": 1}}',
        b'\xef\xbb\xbf{"message": {"a": NaN, "b": 1}}',
        b'{"message": {"a": {"c": "\\ud83d"}, "\xff": 1, "b": 1}}',
        b'{"message": {"a": 100000000000000000000000, "b": {"c": -1e999}}}',
        b'{"message": {"a": %s, "b": 1}}' % (b"9" * 400),
    ],
)
def test_what_a_fast_parser_refuses_is_read_as_the_tolerant_one_reads_it(body: bytes) -> None:
    parts = parts_of_message(body)
    assert {key: value_of(part) for key, part in parts.items()} == parse(body)["message"]


def test_what_nests_deep_is_read_though_a_fast_parser_refuses_another_part() -> None:
    deep = b"[" * 900 + b"]" * 900
    parts = parts_of_message(b'{"message": {"a": 1e999, "b": {"c": %b}}}' % deep)
    assert json.dumps(value_of(parts["b"])).replace(" ", "") == f'{{"c":{deep.decode()}}}'


def test_what_turns_out_to_be_nothing_once_it_is_read_fills_no_hole() -> None:
    joined = join(
        parts_of_message(b'{"message": {"cost": 1e999, "analysis": {"score": 1e999}}}'), {"analysis": {"a": 1}}
    )
    assert (joined.call, joined.from_webhook, joined.source) == ({"analysis": {"a": 1}}, [], "api")


def test_the_parts_of_a_call_are_told_in_the_order_in_which_a_whole_report_is() -> None:
    told = {"transcript": "t", "call": {"type": "webCall", "id": "c"}, "cost": 1}
    assert list(join(in_parts(told), None).call) == ["id", "type", "transcript", "cost", "status"]


@pytest.mark.parametrize("message", ["null", "[1]", '"text"', "7"])
def test_a_message_that_is_no_object_has_no_parts(message: str) -> None:
    assert parts_of(parts_of_message(b'{"message": %b}' % message.encode())) is None
    assert parts_of_message(b"[1]") is None


@pytest.mark.parametrize("body", [b"", b"no JSON", b'{"message": {"a": tru}}', b'{"message": {"a": 1}'])
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(NotJson):
        parts_of_message(body)


def test_a_part_that_nothing_can_read_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="not JSON"):
        value_of(msgspec.Raw(b"[" * 100_000))


def test_the_last_of_two_parts_of_one_name_counts_as_it_does_for_the_parser() -> None:
    body = b'{"message": {"a": 1, "a": 2}}'
    assert value_of(parts_of_message(body)["a"]) == json.loads(body)["message"]["a"]
