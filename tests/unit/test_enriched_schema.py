import re
from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.ended_reasons import RULES, UNKNOWN, Outcome, outcome_of
from consumers.enriched import EnrichedCall, Provenance, Timeline, encode
from consumers.readiness import missing_from
from consumers.timestamps import iso
from worker.broker.asyncapi.messages import enriched_call_schema

SCHEMA = enriched_call_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
INSTANTS = st.floats(min_value=0, max_value=4e9).map(iso)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
PATHS = st.lists(st.text())


@st.composite
def enriched_calls(draw: st.DrawFn) -> EnrichedCall:
    missing = draw(st.lists(st.sampled_from(names_of_what_can_be_missing()), unique=True).map(tuple))
    return EnrichedCall(
        account=draw(st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)),
        call_id=draw(st.from_regex(r"[!-~]{1,128}", fullmatch=True)),
        version=draw(st.integers(1, 1000)),
        complete=not missing,
        missing=missing,
        outcome=outcome_of(draw(st.none() | st.text() | st.sampled_from(["voicemail", "customer-ended-call"]))),
        call=draw(st.dictionaries(st.text(), JSON)),
        provenance=Provenance(draw(st.sampled_from(["api", "webhook", "both"])), draw(PATHS), draw(PATHS)),
        timeline=Timeline(
            draw(INSTANTS), draw(INSTANTS), draw(st.none() | INSTANTS), draw(INSTANTS), draw(st.integers(1, 99))
        ),
    )


def names_of_what_can_be_missing() -> tuple[str, ...]:
    promised = {"startedAt": "x", "analysis": {"summary": "x"}, "artifact": {"recordingUrl": "x"}}
    return missing_from({"startedAt": "x"}, promised, asked=False)


def an_enriched_call() -> dict[str, Any]:
    at = "2026-08-31T17:05:55.477Z"
    call = EnrichedCall(
        account="default",
        call_id="0198-a",
        version=1,
        complete=True,
        missing=(),
        outcome=outcome_of("customer-ended-call"),
        call={"id": "0198-a", "aFieldThatIsNew": {"kept": True}},
        provenance=Provenance("both", ["artifact.transcript"], ["monitor.controlUrl"]),
        timeline=Timeline(at, at, at, at, 1),
    )
    document: dict[str, Any] = orjson.loads(encode(call).body)
    return document


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_an_enriched_call_as_it_is_published_validates() -> None:
    VALIDATOR.validate(an_enriched_call())


@given(enriched_calls())
def test_whatever_is_encoded_validates(call: EnrichedCall) -> None:
    VALIDATOR.validate(orjson.loads(encode(call).body))


Change = Callable[[dict[str, Any]], object]
WRONG: dict[str, Change] = {
    "another schema": lambda call: call.update(schema="aftercall.call/2"),
    "no call id": lambda call: call.pop("callId"),
    "a call id with a blank": lambda call: call.update(callId="a b"),
    "an account in capitals": lambda call: call.update(account="Acme"),
    "version 0": lambda call: call.update(version=0),
    "a version as text": lambda call: call.update(version="1"),
    "complete, with something missing": lambda call: call.update(missing=["cost"]),
    "incomplete, with nothing missing": lambda call: call.update(complete=False),
    "something missing twice": lambda call: call.update(complete=False, missing=["cost", "cost"]),
    "an unknown result": lambda call: call["outcome"].update(result="busy"),
    "an unknown reason": lambda call: call["outcome"].update(reason="customer-ended-call"),
    "a call that is a list": lambda call: call.update(call=[]),
    "another source": lambda call: call["provenance"].update(source="sweep"),
    "no fetchedAt": lambda call: call["timeline"].pop("fetchedAt"),
    "a time without its zone": lambda call: call["timeline"].update(endedAt="2026-08-31T17:05:55.477"),
    "a time as a number": lambda call: call["timeline"].update(receivedAt=1788196000),
    "no attempt": lambda call: call["timeline"].update(attempts=0),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wrong_one_does_not_validate(change: Change) -> None:
    document = an_enriched_call()
    change(document)
    assert not VALIDATOR.is_valid(document)


def test_every_field_of_the_record_is_described_and_no_other() -> None:
    timeline, provenance = (SCHEMA["properties"][name] for name in ("timeline", "provenance"))
    outcome = SCHEMA["properties"]["outcome"]
    described = [SCHEMA, timeline, provenance, outcome]
    records: list[type[msgspec.Struct]] = [EnrichedCall, Timeline, Provenance, Outcome]
    for schema, record in zip(described, records, strict=True):
        names = [field.encode_name for field in msgspec.structs.fields(record)]
        assert sorted(schema["properties"]) == sorted(schema["required"]) == sorted(names)


def test_everything_has_a_description() -> None:
    assert [path for path, schema in properties_of(SCHEMA, "") if not schema.get("description")] == []


def properties_of(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    below = schema.get("properties", {}) | (
        {"items": schema["items"]} if "items" in schema and "properties" in schema["items"] else {}
    )
    return [(path, schema)] + [found for name, each in below.items() for found in properties_of(each, f"{path}.{name}")]


def test_the_known_reasons_are_those_of_the_rules() -> None:
    outcome = SCHEMA["properties"]["outcome"]["properties"]
    assert set(outcome["reason"]["enum"]) == {reason for reason, _, _ in RULES} | {UNKNOWN}
    assert set(outcome["result"]["enum"]) == {result for _, result, _ in RULES} | {UNKNOWN}


def test_the_description_tells_which_reason_is_of_which_result() -> None:
    outcome = SCHEMA["properties"]["outcome"]["properties"]
    in_order: dict[str, list[str]] = {result: [] for result in ("completed", "unreached", "failed")}
    for reason, result, _ in RULES:
        in_order[result].append(reason)
    first, last = outcome["reason"]["enum"][:4], outcome["reason"]["enum"][8:14]
    assert (
        "first four are completed, the next four unreached, the following six failed"
        in outcome["reason"]["description"]
    )
    assert sorted(first) == sorted(in_order["completed"])
    assert sorted(outcome["reason"]["enum"][4:8]) == sorted(in_order["unreached"])
    assert sorted(last) == sorted(in_order["failed"])


def test_all_that_can_be_missing_is_described() -> None:
    described = SCHEMA["properties"]["missing"]["items"]["description"]
    assert len(names_of_what_can_be_missing()) == 6
    assert all(re.search(rf"\b{name}\b", described) for name in names_of_what_can_be_missing())
