"""The table `[alerts]` of `aftercall.toml`: the rules, and how often what they find is told."""

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from consumers.alerts.checks import problems_of
from consumers.alerts.rules import Problem, Rule

Seconds = Annotated[int, Meta(gt=0)]
FAILED_CALLS: Final = Rule(name="failed calls", result="failed")
KEEP_S: Final = 7 * 86400.0


class Alerts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules, and the pace of telling.

    A group is raised after `group_wait_s`, told again at most every `repeat_every_s` while it goes on, and over after
    `over_after_s` of quiet. Each message names so many `examples`.
    """

    group_wait_s: Seconds = 30
    repeat_every_s: Seconds = 3600
    over_after_s: Seconds = 900
    examples: Annotated[int, Meta(ge=0, le=20)] = 3
    rules: tuple[Rule, ...] = ()

    @property
    def in_force(self) -> tuple[Rule, ...]:
        """The rules; without any, each failed call is told."""
        return self.rules or (FAILED_CALLS,)

    @property
    def keep_s(self) -> float:
        """How long a call is remembered: for its windows, and for an event of it that comes once more."""
        return max(KEEP_S, *(2.0 * (rule.window_s or 0) for rule in self.in_force))

    def problems(self) -> Iterator[Problem]:
        """What the types cannot tell: where in the table, and what is wrong."""
        yield from problems_of(self.rules)
