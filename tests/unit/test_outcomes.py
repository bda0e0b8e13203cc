"""What handlers raise is written by people: an odd argument is settled like any other, or told where it stands."""

from datetime import timedelta
from typing import Any

import pytest

from consumers.messages import Delivery
from consumers.outcomes import Hold, Reject, Retry
from consumers.settling import Schedule, settle

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("said", "name", "tier"),
    [
        (Retry(60), "retried", "5s"),  # type: ignore[arg-type]
        (Retry(after="60"), "retried", "2m"),  # type: ignore[arg-type]
        (Retry("busy", after=float("nan")), "retried", "5s"),
        (Retry("busy", after=float("inf")), "retried", "2m"),
        (Hold(None, after=-1), "held", "5s"),  # type: ignore[arg-type]
        (Reject(ValueError("no such customer")), "dead_lettered", "rejected"),  # type: ignore[arg-type]
    ],
)
def test_an_odd_reason_or_wait_is_settled(said: Exception, name: str, tier: str) -> None:
    delivery = Delivery(queue="calls.billing", body=b"{}")

    settlement = settle(delivery, said, schedule=Schedule((5, 30, 120), 90_000), now=NOW)

    assert (settlement.name, settlement.reason) == (name, tier)


@pytest.mark.parametrize("after", [timedelta(minutes=1), "soon"])
def test_a_wait_that_is_no_number_is_an_error_where_it_stands(after: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Retry("busy", after=after)
