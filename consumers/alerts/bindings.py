"""Which events the rules need: what the queue of the alerts is bound to."""

from collections.abc import Sequence
from typing import Any, Final

from consumers.alerts.rules import Rule, conditions_of
from consumers.alerts.table import Alerts
from consumers.ended_reasons import RULES, UNKNOWN

OUTCOMES: Final = (*((result, reason) for reason, result, _ in RULES), (UNKNOWN, UNKNOWN))
RESULTS: Final = tuple(sorted({result for result, _ in OUTCOMES}))


def bindings_of(alerts: Alerts) -> tuple[str, ...]:
    """The binding patterns of the rules in force.

    Amended calls are needed where something may become true only later: an outcome is known from the first.
    """
    later = [rule for rule in alerts.in_force if not _is_known_at_once(rule)]
    return (*_patterns("call.enriched", alerts.in_force), *_patterns("call.amended", later))


def _patterns(event: str, rules: Sequence[Rule]) -> list[str]:
    results = {result for rule in rules for result in _results(rule)}
    if results == set(RESULTS):
        return [f"{event}.#"]
    return [f"{event}.*.{result}.#" for result in RESULTS if result in results]


def _results(rule: Rule) -> set[str]:
    """The results of the calls that a rule must be told of: of a share also those that it is a share of."""
    if rule.measure in ("share", "calls") or rule.min_calls > 1:
        return set(RESULTS)
    return {result for result, reason in OUTCOMES if _may_hold(rule, {"result": result, "reason": reason})}


def _may_hold(rule: Rule, outcome: dict[str, Any]) -> bool:
    judged = (each for each in conditions_of(rule) if each.path in ("outcome.result", "outcome.reason"))
    return all(condition.holds({"outcome": outcome}) for condition in judged)


def _is_known_at_once(rule: Rule) -> bool:
    paths = (*(condition.path for condition in conditions_of(rule)), *filter(None, (rule.of,)))
    return all(path.startswith("outcome.") for path in paths)
