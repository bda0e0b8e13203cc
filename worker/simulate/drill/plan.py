"""What the adversary is going to do, settled by the seed alone before anything begins."""

import random
from collections.abc import Mapping

import msgspec

Lasting = tuple[float, float]
"""How long a fault may last at the least and at the most, in seconds."""

PAUSE_S: Lasting = (0.3, 2.0)


class Strike(msgspec.Struct, frozen=True):
    """One blow of the adversary: which fault, after which pause, and how long it lasts (seconds)."""

    fault: str
    after_s: float
    lasts_s: float


def plan(seed: int, lane: str, faults: Mapping[str, Lasting], within_s: float) -> tuple[Strike, ...]:
    """The blows of one lane, one after the other; each fault once before any comes again, as the time allows."""
    rng = random.Random(f"{seed}/{lane}")  # noqa: S311  # to be repeated, not to be secret
    strikes: list[Strike] = []
    left_s, deck = within_s, list[str]()
    while faults:
        deck = deck or rng.sample(sorted(faults), len(faults))
        fault = deck.pop()
        strike = Strike(fault, round(rng.uniform(*PAUSE_S), 2), round(rng.uniform(*faults[fault]), 2))
        left_s -= strike.after_s + strike.lasts_s
        if left_s < 0 and strikes:
            break
        strikes.append(strike)
    return tuple(strikes)
