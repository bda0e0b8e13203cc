from typing import Any

import pytest
from hypothesis import given

from consumers.drift import KNOWN_FIELDS, drift_of
from consumers.merge import join
from tests.unit.builders import KEYS, enriched_call, fetched, report

UNKNOWN: dict[str, Any] = {"result": "unknown", "reason": "unknown", "endedReason": "brand-new"}


@pytest.mark.parametrize("name", ["outbound-ended", "inbound-voicemail", "web", "pipeline-error"])
def test_the_samples_show_no_drift(name: str) -> None:
    assert list(drift_of(enriched_call(call=join(report(name), fetched(name)).call))) == []


def test_a_new_reason_is_drift() -> None:
    assert list(drift_of(enriched_call(outcome=UNKNOWN))) == ["ended-reason"]


@pytest.mark.parametrize("reason", [None, ""])
def test_no_reason_is_no_drift(reason: str | None) -> None:
    assert list(drift_of(enriched_call(outcome=UNKNOWN | {"endedReason": reason}))) == []


def test_each_unknown_field_is_counted_once_and_never_by_name() -> None:
    call = {"id": "x", "brandNew": None, "newer": {"id": 1}}
    assert list(drift_of(enriched_call(call=call))) == ["field", "field"]


def test_reason_and_fields_are_both_counted() -> None:
    assert list(drift_of(enriched_call(outcome=UNKNOWN, call={"new": 1}))) == ["ended-reason", "field"]


@given(KEYS)
def test_whatever_a_field_is_called_what_is_counted_is_one_of_two_words(key: str) -> None:
    assert list(drift_of(enriched_call(call={key: 1}))) == ([] if key in KNOWN_FIELDS else ["field"])
