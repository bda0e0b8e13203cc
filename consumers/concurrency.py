"""How many calls to have in hand: enough to keep an API busy, and no more than that."""

from math import ceil
from typing import Final

LEAST: Final = 4
MOST: Final = 256
SPARE: Final = 1.5
BROKER_S: Final = 0.1
"""What a call takes beside the API, at a cluster that is not the fastest."""


def in_hand_for(rate: float, latency_s: float) -> int:
    """The calls in hand that keep an API of that latency busy at a rate (requests a second), with half to spare.

    By Little's law as many are on their way as begin in the time that one takes; more would only wait for their turn
    here, where no other process can take them.
    """
    return min(MOST, max(LEAST, ceil(rate * (latency_s + BROKER_S) * SPARE)))


def is_worth_a_change(present: int, wanted: int) -> bool:
    """Whether to have so many in hand from now on: a quarter more, or half as many, since each change is a pause."""
    return wanted > present * 1.25 or wanted < present * 0.5
