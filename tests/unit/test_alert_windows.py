"""What the calls of a window come to, and whether that raises a rule."""

from typing import Any

import pytest

from consumers.alerts.groups import State
from consumers.alerts.rounds import matching_shown
from consumers.alerts.windows import Hearing, Measured, sight_of_window, value_of
from tests.unit.alerts import AT, rule

HEARING, DEAF = Hearing(AT), Hearing(None)


@pytest.mark.parametrize(
    ("changes", "measured", "value"),
    [
        ({"measure": "share"}, Measured(40, 10), 0.25),
        ({"measure": "share"}, Measured(0, 0), None),
        ({"measure": "share", "min_calls": 50}, Measured(40, 10), None),
        ({"measure": "count"}, Measured(40, 10), 10.0),
        ({"measure": "count"}, Measured(0, 0), 0.0),
        ({"measure": "count", "min_calls": 5}, Measured(4, 4), None),
        ({"measure": "sum", "of": "facts.cost"}, Measured(40, 10, 2.5), 2.5),
        ({"measure": "sum", "of": "facts.cost"}, Measured(0, 0), None),
        ({"measure": "calls"}, Measured(40, 10), 40.0),
        ({"measure": "calls"}, Measured(0, 0), 0.0),
    ],
)
def test_a_measure_is_of_the_calls_of_the_window(changes: dict[str, Any], measured: Measured, value: float) -> None:
    assert value_of(rule(**changes), measured) == value


def test_a_window_is_on_beyond_its_bound_and_not_at_it() -> None:
    share = rule(measure="share", above=0.25)

    assert not sight_of_window(share, Measured(40, 10), watched_s=0, hearing=DEAF).is_on
    assert sight_of_window(share, Measured(40, 11), watched_s=0, hearing=DEAF).is_on


def test_silence_is_one_only_if_a_whole_window_was_listened_to() -> None:
    silence = rule(result=(), measure="calls", below=1)

    assert sight_of_window(silence, Measured(), watched_s=900, hearing=HEARING).is_on
    assert not sight_of_window(silence, Measured(), watched_s=899, hearing=HEARING).is_on
    assert not sight_of_window(silence, Measured(), watched_s=900, hearing=DEAF).is_on
    assert not sight_of_window(silence, Measured(1, 1), watched_s=900, hearing=HEARING).is_on


@pytest.mark.parametrize(
    ("changes", "value", "shown"),
    [
        ({}, None, True),
        ({"measure": "share", "above": 0.5}, 0.6, True),
        ({"measure": "share", "below": 0.5}, 0.4, False),
        ({"measure": "share", "below": 0.5, "above": 0.9}, 0.95, True),
        ({"result": (), "measure": "calls", "below": 5}, 2.0, None),
        ({"measure": "sum", "of": "facts.cost", "below": 5}, 2.0, None),
    ],
)
def test_the_calls_to_show_are_those_that_are_the_trouble(changes: Any, value: Any, shown: bool | None) -> None:
    assert matching_shown(rule(**changes), State(watched_since=AT, value=value)) is shown
