"""Row 24: waits are the broker's own (TTLs), and what we decide by the clock survives any jump of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.messages import Delivery
from consumers.outcomes import Hold, Retry
from consumers.settling import Schedule, settle, tier_name
from consumers.timestamps import iso

NOW = 1_800_000_000.0
SCHEDULE = Schedule((5, 30, 120, 600), 90_000)
TIERS = {f"calls.retry.{tier_name(wait_s)}" for wait_s in SCHEDULE.tiers_s}
JUMPS_S = st.floats(-10 * 86_400, 10 * 86_400)


def waiting(attempt: int) -> Delivery:
    headers = {
        "x-aftercall-attempt": attempt,
        "x-aftercall-received-at": iso(NOW),
        "x-aftercall-first-attempt-at": iso(NOW),
    }
    return Delivery(queue="calls.enrich.default", body=b"{}", headers=headers)


@given(jump_s=JUMPS_S, attempt=st.integers(1, 50), due_s=st.none() | JUMPS_S)
def test_24_a_hold_waits_in_a_tier_whatever_the_clock_says(jump_s: float, attempt: int, due_s: float | None) -> None:
    said = Hold("the API is down", due_at=None if due_s is None else NOW + due_s)

    settlement = settle(waiting(attempt), said, schedule=SCHEDULE, now=NOW + jump_s)

    assert settlement.messages[0].exchange in TIERS


@given(jump_s=JUMPS_S, attempt=st.integers(1, 50))
def test_24_a_retry_waits_in_a_tier_or_is_given_up_but_never_earlier_than_its_time(jump_s: float, attempt: int) -> None:
    settlement = settle(waiting(attempt), Retry("not yet"), schedule=SCHEDULE, now=NOW + jump_s)

    if jump_s < SCHEDULE.give_up_after_s:
        assert settlement.messages[0].exchange in TIERS
    else:
        assert settlement.reason == "gave-up"


@pytest.mark.parametrize("jump_s", [-3600.0, -1.0])
def test_24_a_clock_set_back_begins_the_time_to_give_up_anew_and_shortens_nothing(jump_s: float) -> None:
    settlement = settle(waiting(1), Retry("not yet"), schedule=SCHEDULE, now=NOW + jump_s)

    again = settlement.messages[0]
    assert again.exchange == "calls.retry.5s"
    assert again.headers["x-aftercall-first-attempt-at"] == iso(NOW + jump_s)
