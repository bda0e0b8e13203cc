"""Targets that take nothing are tried again, with growing pauses; and what one did not take comes after the rest."""

import random
from typing import Final

from consumers.alerts.rounds import Key

PAUSE_MIN_S: Final = 5.0
PAUSE_MAX_S: Final = 300.0


class Pauses:
    """When each target may be told again, and when each message was refused last. Instants are epoch seconds."""

    def __init__(self) -> None:
        self._targets: dict[str, tuple[int, float]] = {}
        self._refused_at: dict[Key, float] = {}

    def holds(self, target: str, now: float) -> bool:
        """Whether a target is left alone for now. A pause that lasts too long began before the clock was set back."""
        return now < self._targets.get(target, (0, 0.0))[1] < now + 2 * PAUSE_MAX_S

    def order(self, key: Key) -> float:
        """What to sort messages by, lest one that will never be taken stand before the others for ever."""
        return self._refused_at.get(key, 0.0)

    def refused(self, key: Key, now: float) -> None:
        """The target did not take a message."""
        failures = self._targets.get(key[2], (0, 0.0))[0]
        self._targets[key[2]] = (failures + 1, now + _pause_s(failures))
        self._refused_at[key] = now

    def taken(self, key: Key) -> None:
        """It did."""
        self._targets.pop(key[2], None)
        self._refused_at.pop(key, None)


def _pause_s(failures: int) -> float:
    pause_s = min(PAUSE_MAX_S, PAUSE_MIN_S * float(2 ** min(failures, 10)))
    return pause_s * random.uniform(0.8, 1.2)  # noqa: S311  # so that several parts do not ask in step
