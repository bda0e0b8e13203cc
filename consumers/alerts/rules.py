"""The rules of `[alerts]` in `aftercall.toml`: which calls, or how many of them, somebody is to hear of.

[[alerts.rules]]                    # per call: every call for which all of it holds
name = "expensive"
cost_above = 2

[[alerts.rules]]                    # over a window: what many calls come to, for each account by itself
name = "many failures"
result = "failed"
measure = "share"
window_s = 900
above = 0.1
min_calls = 20
"""

from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from consumers.conditions import Condition, Value
from consumers.ended_reasons import Result

Seconds = Annotated[int, Meta(gt=0)]
Words = str | tuple[str, ...]
Measure = Literal["share", "count", "sum", "calls"]
"""Of a window's calls: the share or count of those for which the conditions hold, the sum of what a path has in those,
or all calls, whatever they are."""

Problem = tuple[tuple[str | int, ...], str]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule: which calls it is about (all of its conditions must hold), and whom it tells.

    With a `measure` it is over a window, and raised while the measure is `above` or `below` that; without one it is per
    call. `accounts` and `to` left empty are all accounts, and the URLs without a name.
    """

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    accounts: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    when: tuple[Condition, ...] = ()
    result: Result | tuple[Result, ...] = ()
    reason: Words = ()
    """The class of the reason why it ended, as in the routing key."""
    cost_above: float | None = None
    duration_above_s: float | None = None
    duration_below_s: float | None = None
    latency_above_ms: float | None = None
    """Of the call's turns on average."""
    success_evaluation: Value | tuple[Value, ...] = ()
    words: Words = ()
    """Any of them in the transcript."""
    path: str = ""
    value: Value | UnsetType = UNSET
    measure: Measure | None = None
    of: str = ""
    """The path that is summed."""
    window_s: Seconds | None = None
    above: float | None = None
    below: float | None = None
    min_calls: Annotated[int, Meta(ge=1)] = 1
    """In a window of fewer calls nothing is judged."""

    def is_about(self, account: str) -> bool:
        """Whether it watches an account."""
        return not self.accounts or account in self.accounts


@lru_cache(maxsize=1024)
def conditions_of(rule: Rule) -> tuple[Condition, ...]:
    """All that must hold for a call: the rule's own conditions, and those that its short keys stand for."""
    told: tuple[tuple[str, str, Any], ...] = (
        ("outcome.result", "one_of", each_of(rule.result)),
        ("outcome.reason", "one_of", each_of(rule.reason)),
        ("facts.cost", "above", rule.cost_above),
        ("facts.duration_s", "above", rule.duration_above_s),
        ("facts.duration_s", "below", rule.duration_below_s),
        ("facts.turn_latency_ms", "above", rule.latency_above_ms),
        ("facts.success_evaluation", "one_of", each_of(rule.success_evaluation)),
        ("facts.transcript", "contains", each_of(rule.words)),
        (rule.path, "equals", rule.value),
    )
    short = (Condition(path=path, **{name: wanted}) for path, name, wanted in told if wanted not in (None, (), UNSET))
    return (*rule.when, *short)


def each_of(value: Any) -> tuple[Any, ...]:
    """The values of a key that takes one or several."""
    return value if isinstance(value, tuple) else (value,)
