"""What the queue of the alerts is bound to follows from the rules."""

from typing import Any

import pytest

from consumers.alerts.bindings import bindings_of
from consumers.alerts.table import Alerts
from tests.unit.alerts import alerts, condition, rule
from worker.broker.topology import topology_of
from worker.settings import Settings

FAILED = "call.enriched.*.failed.#"


def test_without_rules_it_gets_exactly_the_failed_calls() -> None:
    assert bindings_of(Alerts()) == (FAILED,)


def test_the_topology_has_the_bindings_of_the_rules() -> None:
    def keys(settings: Settings) -> list[str]:
        found = topology_of(settings).bindings
        return [each.key for each in found if each.queue == "calls.alerts" and each.exchange == "calls"]

    assert keys(Settings()) == [FAILED]
    assert keys(Settings(alerts=alerts(rule(result=(), cost_above=1)))) == ["call.enriched.#", "call.amended.#"]


@pytest.mark.parametrize(
    ("changes", "patterns"),
    [
        ({"result": ("failed", "unreached")}, (FAILED, "call.enriched.*.unreached.#")),
        ({"result": (), "reason": "voicemail"}, ("call.enriched.*.unreached.#",)),
        ({"result": (), "when": (condition("outcome.result", not_equals="completed"),)}, None),
        # What may become true only with an amendment is looked for there too.
        ({"cost_above": 1}, (FAILED, "call.amended.*.failed.#")),
        ({"result": (), "words": "refund"}, ("call.enriched.#", "call.amended.#")),
        ({"measure": "count", "above": 5}, (FAILED,)),
        # A share is one of all calls, and so is a window that wants so many of them.
        ({"measure": "share", "above": 0.1}, ("call.enriched.#",)),
        ({"measure": "count", "above": 5, "min_calls": 20}, ("call.enriched.#",)),
        ({"result": (), "measure": "calls", "below": 1}, ("call.enriched.#",)),
        ({"measure": "sum", "of": "facts.cost", "above": 5}, (FAILED, "call.amended.*.failed.#")),
    ],
)
def test_a_rule_gets_what_it_needs_and_no_more(changes: dict[str, Any], patterns: tuple[str, ...] | None) -> None:
    expected = patterns or (FAILED, "call.enriched.*.unknown.#", "call.enriched.*.unreached.#")

    assert bindings_of(alerts(rule(**changes))) == expected


def test_the_needs_of_several_rules_are_put_together() -> None:
    everything = rule(name="silence", result=(), measure="calls", below=1)

    assert bindings_of(alerts(rule(), everything)) == ("call.enriched.#",)
    assert bindings_of(alerts(rule(), rule(name="two", cost_above=1))) == (FAILED, "call.amended.*.failed.#")
