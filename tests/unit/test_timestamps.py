"""Instants, and the times of messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.timestamps import instant, instant_of_epoch, iso


@given(st.datetimes().map(lambda moment: moment.isoformat()) | st.text())
def test_an_instant_that_is_read_can_be_written(text: str) -> None:
    moment = instant(text)
    assert moment is None or iso(moment).endswith("Z")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-08-31T17:05:55.477Z", 1788195955.477),
        ("2026-08-31T17:05:55.477", 1788195955.477),
        ("2026-08-31T19:05:55.477+02:00", 1788195955.477),
        ("2026-08-31", 1788134400.0),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1788195955, None),
    ],
)
def test_an_instant_is_an_iso_8601_text_and_without_a_zone_it_is_utc(text: Any, moment: float | None) -> None:
    assert instant(text) == moment


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1788195955, 1788195955.0),
        (1788195955477, 1788195955.477),
        (1788195955.5, 1788195955.5),
        (0, None),
        (-1, None),
        (True, None),
        ("1788195955", None),
        (None, None),
    ],
)
def test_the_time_of_a_message_is_in_seconds_or_milliseconds(value: Any, moment: float | None) -> None:
    assert instant_of_epoch(value) == moment
