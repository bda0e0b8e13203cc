"""How the demo stands, and how it adds up: each call that ended is enriched or dead, and each subscriber has it."""

from collections.abc import Iterable, Mapping

import msgspec

from consumers.messages import RETRY
from worker.simulate.demo.subscribers import Reached
from worker.simulate.tally import Letter, Tally


class Picture(msgspec.Struct, frozen=True):
    """One look at the demo: what ended, what passed, and what lies in which queue."""

    ended: int
    tally: Tally
    depths: Mapping[str, int]

    @property
    def waiting(self) -> int:
        """What waits in tiers for another attempt."""
        return sum(depth for queue, depth in self.depths.items() if queue.startswith(RETRY))

    @property
    def dead(self) -> int:
        """The dead letters."""
        return sum(depth for queue, depth in self.depths.items() if queue.endswith(".dead"))

    def is_settled(self, calls: int) -> bool:
        """Whether so many calls ended and are enriched, and nothing is on its way any more."""
        on_its_way = sum(self.depths.values()) - self.dead
        return self.ended >= calls and len(self.tally.enriched) >= calls and not on_its_way


class Account(msgspec.Struct, frozen=True):
    """How it ended, by call id; `broken` reports were sent on purpose, which are to be found dead."""

    ended: set[str]
    tally: Tally
    letters: list[Letter]
    reached: Mapping[str, Reached]
    broken: int

    @property
    def missing(self) -> set[str]:
        """The calls that ended and are neither enriched nor dead: there must be none."""
        return self.tally.missing(self.ended, self.letters)

    def missing_at(self, name: str) -> set[str]:
        """The enriched calls that a subscriber neither has nor refused: there must be none."""
        dead = {letter.call_id for letter in self.letters if letter.queue == f"calls.{name}"}
        return self.reached[name].wanted - self.reached[name].has - dead

    @property
    def adds_up(self) -> bool:
        """Whether every call and every broken report is accounted for, at every subscriber, and nothing was doubled."""
        unidentified = sum(not letter.call_id for letter in self.letters)
        lacking: Iterable[object] = (self.missing, *map(self.missing_at, self.reached))
        doubled = any(each.doubled for each in self.reached.values())
        return not any(lacking) and not doubled and unidentified >= self.broken
