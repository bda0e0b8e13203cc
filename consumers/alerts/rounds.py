"""One round over all rules, accounts and targets: from what a look shows to the states after it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import msgspec

from consumers.alerts.groups import State, watch
from consumers.alerts.rules import Rule, conditions_of
from consumers.alerts.table import Alerts
from consumers.alerts.windows import Hearing, Measured, Sight, sight_of_new, sight_of_window

Place = tuple[str, str]
"""A rule and an account."""
Key = tuple[str, str, str]
"""A rule, an account and a target."""
Targets = Callable[[Rule], Collection[str]]
NO_CALLS: Final = Measured()


class Look(msgspec.Struct, frozen=True):
    """What is there now: the calls that are new to rules per call, and the windows of the others."""

    new: Mapping[Place, int]
    measured: Mapping[Place, Measured]

    def accounts(self, rule: Rule) -> set[str]:
        """The accounts of which it shows something to a rule."""
        return {account for name, account in (*self.new, *self.measured) if name == rule.name}


class Watch(msgspec.Struct, frozen=True):
    """What is watched: by which rules, for whom to tell, and the accounts that are known."""

    alerts: Alerts
    targets: Targets
    accounts: Collection[str] = ()

    def after(self, states: Mapping[Key, State], look: Look, hearing: Hearing, now: float) -> dict[Key, State]:
        """The states after a look. Those of rules and targets that are no more are left out."""

        def sight_of(rule: Rule, place: Place, state: State) -> Sight:
            if rule.measure is None:
                return sight_of_new(look.new.get(place, 0))
            measured, watched_s = look.measured.get(place, NO_CALLS), now - state.watched_since
            return sight_of_window(rule, measured, watched_s=watched_s, hearing=hearing)

        return {
            key: watch(state, sight_of(rule, key[:2], state), rule, self.alerts, now)
            for rule in self.alerts.in_force
            for key in self._keys(rule, states, look)
            for state in [states.get(key) or State(watched_since=now)]
        }

    def _keys(self, rule: Rule, states: Mapping[Key, State], look: Look) -> Iterator[Key]:
        """Accounts of which nothing comes are watched too where too little is what a rule is about."""
        begun = {account for (name, account, _), state in states.items() if name == rule.name and state.since}
        known = {*self.accounts, *rule.accounts} if rule.below is not None else set()
        for account in sorted(filter(rule.is_about, begun | known | look.accounts(rule))):
            yield from ((rule.name, account, target) for target in self.targets(rule))


def matching_shown(rule: Rule, state: State) -> bool | None:
    """Which calls are shown: those that match (True), those that do not, or none, where too few are the trouble."""
    if rule.below is None or state.value is None or state.value >= rule.below:
        return True
    return False if rule.measure in ("share", "count") and conditions_of(rule) else None
