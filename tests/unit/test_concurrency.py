"""How many calls to have in hand."""

import pytest

from consumers.concurrency import in_hand_for, is_worth_a_change


@pytest.mark.parametrize(
    ("rate", "latency_s", "in_hand"),
    [(5, 0.05, 4), (5, 2, 16), (100, 0.15, 38), (100, 2, 256), (100_000, 0.001, 256)],
)
def test_as_many_calls_are_in_hand_as_keep_the_api_busy(rate: float, latency_s: float, in_hand: int) -> None:
    assert in_hand_for(rate, latency_s) == in_hand


@pytest.mark.parametrize(("wanted", "is_worth"), [(15, True), (16, False), (40, False), (41, True)])
def test_a_small_change_is_not_worth_the_pause(wanted: int, is_worth: bool) -> None:
    assert is_worth_a_change(32, wanted) is is_worth
