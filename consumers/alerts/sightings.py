"""What a call is to each rule: whether its conditions hold, what it adds to a sum, and why."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from consumers.alerts.rules import Rule, conditions_of
from consumers.conditions import Condition, understood
from consumers.enriched import EnrichedCall, read_enriched
from consumers.messages import Delivery, Message
from consumers.paths import document_of
from consumers.timestamps import instant

TOLD_MAX: Final = 300
LARGEST: Final = 1e15


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One call as one rule sees it. Of a call's events that of the greater `rank` counts, and the call counts once.

    `at` is when the call went out (epoch seconds); `told` says what of it made the rule hold, without what was said.
    """

    rule: str
    account: str
    call_id: str
    rank: str
    at: float
    matched: bool
    value: float
    told: str
    is_of_window: bool


Record = Callable[[Sequence[Sighting], float], Awaitable[None]]
"""Write sightings of an instant for good. Raises `DatabaseAway`."""


async def keep(delivery: Delivery, now: float, *, rules: Sequence[Rule], record: Record) -> tuple[Message, ...]:
    """Write down what a delivered call is to the rules. Raises `Undecodable`, and `DatabaseAway` as `record` does."""
    if sightings := sightings_of(rules, read_enriched(delivery), now):
        await record(sightings, now)
    return ()


def sightings_of(rules: Sequence[Rule], call: EnrichedCall, now: float, at: float | None = None) -> list[Sighting]:
    """What a call is to the rules that care; `at` is when it counts, never after `now`, and else when it went out."""
    caring = [rule for rule in rules if rule.is_about(call.account)]
    if not caring:
        return []
    went_out_at = min(now, at if at is not None else instant(call.timeline.emitted_at) or now)
    document = document_of(call)
    seen = (_sighting(rule, call, document, went_out_at) for rule in caring)
    return [sighting for sighting in seen if sighting.matched or sighting.is_of_window]


def _sighting(rule: Rule, call: EnrichedCall, document: dict[str, Any], at: float) -> Sighting:
    conditions = conditions_of(rule)
    return Sighting(
        rule=rule.name,
        account=call.account,
        call_id=call.call_id,
        rank=call.rank,
        at=at,
        matched=all(condition.holds(document) for condition in conditions),
        value=float(added) if rule.of and _is_quantity(added := understood(rule.of).of(document)) else 0.0,
        told=_why(call, conditions, document),
        is_of_window=rule.measure is not None,
    )


def _why(call: EnrichedCall, conditions: Sequence[Condition], document: dict[str, Any]) -> str:
    """How the call ended, and each quantity that was compared; texts are left out, for they may name somebody."""
    bounded = dict.fromkeys(each.path for each in conditions if each.above is not UNSET or each.below is not UNSET)
    found = ((path, understood(path).of(document)) for path in bounded)
    quantities = (f"{path} {value:g}" for path, value in found if _is_quantity(value))
    return ", ".join((call.outcome.ended_reason or call.outcome.reason, *quantities))[:TOLD_MAX]


def _is_quantity(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
