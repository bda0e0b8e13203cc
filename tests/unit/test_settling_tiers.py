"""Which tier a retry or a hold waits in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.outcomes import Hold, Later, Retry
from consumers.settling import Schedule, settle, tier_name
from tests.unit.settlements import GIVE_UP_AFTER_S, NOW, WAITS, came, exchange, only


@pytest.mark.parametrize(("attempt", "wait"), [*enumerate(WAITS, start=1), (7, WAITS[5]), (50, WAITS[5])])
def test_a_retry_waits_by_its_attempt(attempt: int, wait: str) -> None:
    assert exchange(Retry("later"), came(attempt)) == wait


@pytest.mark.parametrize(
    ("after", "wait"),
    [
        (0, "calls.retry.5s"),
        (-3, "calls.retry.5s"),
        (5, "calls.retry.5s"),
        (5.01, "calls.retry.30s"),
        (31, "calls.retry.2m"),
        (3601, "calls.retry.6h"),
        (99_999, "calls.retry.6h"),
        (float("inf"), "calls.retry.6h"),
        (float("nan"), "calls.retry.5s"),
    ],
)
def test_a_wait_that_is_asked_for_rounds_up_to_a_tier(after: float, wait: str) -> None:
    assert exchange(Retry("later", after=after), came(attempt=6)) == wait
    assert exchange(Hold("down", after=after)) == wait


@pytest.mark.parametrize(
    ("left_s", "wait"),
    [
        (21600, "calls.retry.6h"),
        (21599, "calls.retry.1h"),
        (899, "calls.retry.10m"),
        (600, "calls.retry.10m"),
        (599.9, "calls.retry.2m"),
        (31, "calls.retry.30s"),
        (29, "calls.retry.5s"),
        (1, "calls.retry.5s"),
        (0, "calls.retry.5s"),
        (-0.01, "calls.retry.5s"),
    ],
)
def test_no_wait_goes_past_the_next_due_moment_and_is_rounded_down_for_it(left_s: float, wait: str) -> None:
    """A moment that passes between deciding and settling is as due as one to come."""
    due_at = NOW + left_s
    assert exchange(Retry("later", due_at=due_at), came(attempt=6)) == wait
    assert exchange(Retry("later", after=21600, due_at=due_at)) == wait
    assert exchange(Hold("down", due_at=due_at), came(age_s=30_000)) == wait


def test_a_due_moment_lengthens_no_wait() -> None:
    assert exchange(Retry("later", due_at=NOW + 9999), came(attempt=2)) == "calls.retry.30s"


@pytest.mark.parametrize(
    ("left_s", "wait"), [(4000, "calls.retry.1h"), (700, "calls.retry.10m"), (2, "calls.retry.5s")]
)
def test_no_wait_goes_past_the_time_to_give_up(left_s: float, wait: str) -> None:
    of = came(attempt=6, age_s=GIVE_UP_AFTER_S - left_s)
    assert exchange(Retry("later"), of) == wait
    assert exchange(Hold("down"), of) == wait


@pytest.mark.parametrize(
    ("age_s", "wait"),
    [
        (0, "calls.retry.5s"),
        (29, "calls.retry.5s"),
        (30.1, "calls.retry.30s"),
        (119, "calls.retry.30s"),
        (3599, "calls.retry.10m"),
        (3601, "calls.retry.1h"),
        (30_000, "calls.retry.6h"),
        (500_000, "calls.retry.6h"),
    ],
)
def test_a_hold_waits_in_the_largest_tier_not_above_the_age(age_s: float, wait: str) -> None:
    assert exchange(Hold("down"), came(age_s=age_s)) == wait


def test_a_hold_that_asks_for_a_longer_wait_gets_it() -> None:
    assert exchange(Hold("down", after=100), came(age_s=40)) == "calls.retry.2m"
    assert exchange(Hold("down", after=1), came(age_s=700)) == "calls.retry.10m"


@pytest.mark.parametrize(
    ("wait_s", "name"),
    [(5, "5s"), (90, "90s"), (120, "2m"), (5400, "90m"), (3600, "1h"), (86400, "1d"), (172800, "2d"), (1, "1s")],
)
def test_a_tier_is_named_in_its_largest_whole_unit(wait_s: int, name: str) -> None:
    assert tier_name(wait_s) == name


@given(
    st.sets(st.integers(1, 10**6), min_size=1, max_size=8).map(lambda tiers: tuple(sorted(tiers))),
    st.integers(1, 20),
    st.none() | st.floats(0, 10**6),
    st.none() | st.floats(-10, 10**6),
    st.sampled_from([Retry, Hold]),
)
def test_a_wait_ends_before_what_is_due_unless_it_is_the_shortest_there_is(
    tiers: tuple[int, ...], attempt: int, after: float | None, left_s: float | None, kind: type[Later]
) -> None:
    said = kind("r", after=after, due_at=None if left_s is None else NOW + left_s)
    settlement = settle(came(attempt), said, schedule=Schedule(tiers, 10**5, notes=False), now=NOW)
    waits = {f"calls.retry.{tier_name(tier)}": tier for tier in tiers}
    wait_s = waits[only(settlement).exchange]
    left = min(10**5, 10**6 if left_s is None else left_s)
    assert wait_s <= left + 0.01 or wait_s == tiers[0]
