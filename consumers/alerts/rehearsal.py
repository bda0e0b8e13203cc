"""A rehearsal: what the rules would have said about calls, in the order of their ends, by the calls' own times."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from consumers.alerts.groups import State, due, told
from consumers.alerts.rounds import Key, Look, Place, Watch, matching_shown
from consumers.alerts.rules import Rule
from consumers.alerts.sightings import Sighting, sightings_of
from consumers.alerts.table import Alerts
from consumers.alerts.texts import Announcement, Example, announce
from consumers.alerts.windows import Hearing, Measured
from consumers.enriched import EnrichedCall
from consumers.timestamps import instant

STEP_S: Final = 10.0
GROUP_S: Final = 3600.0
"""How long the calls of a rule per call are kept in mind, for examples."""
ONE: Final = ("",)


class Said(msgspec.Struct, frozen=True):
    """What would have been said, and when (epoch seconds)."""

    at: float
    rule: str
    account: str
    announcement: Announcement


class Rehearsal:
    """Takes calls in the order of their ends, from `began_at` on, and tells what would have been said meanwhile."""

    def __init__(self, alerts: Alerts, accounts: Sequence[str], began_at: float) -> None:
        self._watch = Watch(alerts, targets=lambda _: ONE, accounts=accounts)
        self._rules = {rule.name: rule for rule in alerts.in_force}
        self._hearing = Hearing(began_at)
        self._now = began_at
        self._states: dict[Key, State] = {}
        self._new: dict[Place, int] = {}
        self._seen: dict[Place, _Seen] = {}

    def hear(self, call: EnrichedCall) -> Iterator[Said]:
        """What is said until the end of a call, which is then taken in."""
        ended_at = max(self._now, instant(call.timeline.ended_at) or self._now)
        yield from self.until(ended_at)
        for sighting in sightings_of(list(self._rules.values()), call, ended_at, ended_at):
            place = (sighting.rule, sighting.account)
            self._seen.setdefault(place, _Seen()).add(sighting)
            if not sighting.is_of_window:
                self._new[place] = self._new.get(place, 0) + 1

    def until(self, at: float) -> Iterator[Said]:
        """What is said until an instant, if nothing more comes."""
        while self._now + STEP_S <= at:
            self._now += STEP_S
            yield from self._look()

    def _look(self) -> Iterator[Said]:
        measured = {place: self._measured(place, seen) for place, seen in self._seen.items()}
        look = Look(new=self._new, measured=measured)
        self._new = {}
        self._states = self._watch.after(self._states, look, self._hearing, self._now)
        for key, state in self._states.items():
            if (what := due(state, self._watch.alerts, self._hearing, self._now)) is not None:
                rule, account = self._rules[key[0]], key[1]
                examples = () if what == "over" else self._examples(rule, account, state)
                words = announce(what, rule, account, state, examples)
                self._states[key] = told(state, what, self._now)
                yield Said(self._now, rule.name, account, words)

    def _measured(self, place: Place, seen: "_Seen") -> Measured:
        seen.forget(self._now - (self._rules[place[0]].window_s or GROUP_S))
        return Measured(len(seen.sightings), seen.matched, seen.total)

    def _examples(self, rule: Rule, account: str, state: State) -> list[Example]:
        wanted, seen = matching_shown(rule, state), self._seen.get((rule.name, account), _Seen()).sightings
        most = self._watch.alerts.examples
        if rule.measure is None:
            most = min(most, state.count)
        fitting = [Example(each.call_id, each.told) for each in reversed(seen) if each.matched is wanted]
        return fitting[:most]


class _Seen:
    """The calls of a rule and an account that are kept in mind, counted as they come and go."""

    def __init__(self) -> None:
        self.sightings: deque[Sighting] = deque()
        self.matched = 0
        self.total = 0.0

    def add(self, sighting: Sighting) -> None:
        self.sightings.append(sighting)
        self._count(sighting, 1)

    def forget(self, before: float) -> None:
        while self.sightings and self.sightings[0].at <= before:
            self._count(self.sightings.popleft(), -1)

    def _count(self, sighting: Sighting, sign: int) -> None:
        if sighting.matched:
            self.matched += sign
            self.total += sign * sighting.value
