"""How the sweep goes through Vapi's list, which has no pages: in slices of `updatedAt`, each about equally heavy."""

from typing import Final

import msgspec

SHORTEST_S: Final = 0.001
"""Vapi's times have milliseconds: no slice can be shorter."""
LONGEST_S: Final = 3600.0
FEWEST: Final = 10
MOST: Final = 1000
"""What Vapi lists at once at the most; asked for only where calls are light, or a slice cannot be halved."""
PAGE_BYTES: Final = 2**23
"""What an answer is to weigh: a call weighs anything from 2 KB to a megabyte, so a number of calls says little."""
FILL: Final = 0.75
"""How full an answer is aimed at: one that is full may be cut short, and was asked for in vain."""
GROWTH_MAX: Final = 4.0


class Slice(msgspec.Struct, frozen=True):
    """A stretch of `updatedAt`, from `since` to before `until`: epoch seconds, on whole milliseconds as Vapi's are."""

    since: float
    until: float

    @property
    def length_s(self) -> float:
        """How long it is, in seconds."""
        return self.until - self.since

    @property
    def is_shortest(self) -> bool:
        """Whether it cannot be halved any more."""
        return self.length_s < 1.5 * SHORTEST_S

    def part(self, since: float, length_s: float) -> "Slice":
        """The part from `since` on, of about that length, but not past the end."""
        return Slice(since, min(self.until, round(since + max(length_s, SHORTEST_S), 3)))


class Pace(msgspec.Struct, frozen=True):
    """How the next slice is asked for: how long it is, in seconds, and for how many calls at the most."""

    length_s: float = LONGEST_S
    limit: int = 100

    def halved(self, part: Slice) -> "Pace":
        """After an answer that did not hold all of a slice."""
        return Pace(part.length_s / 2, self.limit)

    def after(self, part: Slice, calls: int, body_bytes: int) -> "Pace":
        """After a slice that held so many calls, in an answer of that size: as if the next ones came as thick.

        A few calls say nothing of what others weigh.
        """
        if calls * GROWTH_MAX < FILL * self.limit:
            return Pace(min(LONGEST_S, part.length_s * GROWTH_MAX), self.limit)
        limit = max(FEWEST, min(MOST, PAGE_BYTES * calls // body_bytes))
        growth = min(GROWTH_MAX, FILL * limit / calls)
        return Pace(min(LONGEST_S, part.length_s * growth), limit)
