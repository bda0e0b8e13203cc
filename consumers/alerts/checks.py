"""What is wrong with rules that are well formed: paths that lead nowhere, windows that measure nothing."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from msgspec import UNSET

from consumers.alerts.rules import Problem, Rule, conditions_of, each_of
from consumers.conditions import understood
from consumers.ended_reasons import RULES, UNKNOWN
from consumers.paths import WrongPath

REASONS: Final = (*(reason for reason, _, _ in RULES), UNKNOWN)
OF_WINDOWS: Final = ("window_s", "of", "above", "below")


def problems_of(rules: Sequence[Rule]) -> Iterator[Problem]:
    """What is wrong with rules: where in the table `[alerts]`, and what."""
    names = [rule.name for rule in rules]
    for index, rule in enumerate(rules):
        place = ("rules", index)
        if rule.name in names[:index]:
            yield (*place, "name"), f"{rule.name!r} is the name of an earlier rule: each has its own"
        for where, told in (*_of_conditions(rule), *(_of_window(rule) if rule.measure else _per_call(rule))):
            yield (*place, *where), told


def _of_conditions(rule: Rule) -> Iterator[Problem]:
    for index, condition in enumerate(rule.when):
        yield from ((("when", index, *where), told) for where, told in condition.problems())
    for reason in each_of(rule.reason):
        if reason not in REASONS:
            yield ("reason",), f"{reason!r} is no class of reasons: {_nearest(reason)}"
    if "" in each_of(rule.words):
        yield ("words",), "an empty text is in every transcript"
    if bool(rule.path) != (rule.value is not UNSET):
        yield ("path",) if rule.path else ("value",), "`path` and `value` go together: that path has that value"
    elif rule.path:
        yield from _of_path("path", rule.path)


def _of_path(key: str, text: str) -> Iterator[Problem]:
    try:
        understood(text)
    except WrongPath as error:
        yield (key,), str(error)


def _per_call(rule: Rule) -> Iterator[Problem]:
    if stray := next((key for key in OF_WINDOWS if getattr(rule, key) not in (None, "")), None):
        yield (stray,), "a window needs a measure: share, count, sum or calls"
    elif not conditions_of(rule):
        yield (), "it would tell of every call: give it a condition, or a measure over a window"


def _of_window(rule: Rule) -> Iterator[Problem]:
    if rule.window_s is None:
        yield ("measure",), "a measure needs a window: window_s, in seconds"
    if rule.measure == "calls" and conditions_of(rule):
        yield ("measure",), "`calls` are all calls: `count` counts those for which the conditions hold"
    if rule.measure == "share" and not conditions_of(rule):
        yield ("measure",), "the share of which calls? give the rule a condition"
    if (rule.measure == "sum") != bool(rule.of):
        yield ("measure",), '`sum` and `of` go together: of = "facts.cost" is the path that is summed'
    elif rule.of:
        yield from _of_path("of", rule.of)
    yield from _of_bounds(rule)


def _of_bounds(rule: Rule) -> Iterator[Problem]:
    bounds = {key: bound for key, bound in (("above", rule.above), ("below", rule.below)) if bound is not None}
    if not bounds:
        yield ("measure",), "a measure needs a bound: above, below, or both"
    for key, bound in bounds.items():
        if rule.measure == "share" and not 0 <= bound <= 1:
            yield (key,), f"a share is from 0 to 1: {bound:g} % is {bound / 100:g}"


def _nearest(reason: str) -> str:
    near = get_close_matches(reason, REASONS, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(REASONS)}"
