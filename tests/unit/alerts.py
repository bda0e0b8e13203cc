"""Rules and calls to test alerts with."""

from typing import Any

from consumers.alerts.rules import Rule
from consumers.alerts.table import Alerts
from consumers.conditions import Condition
from consumers.enriched import EnrichedCall
from tests.unit.builders import CALL_ID, enriched_call

AT = 1_800_000_000.0


def rule(**changes: Any) -> Rule:
    """A rule per call; with a measure, one over a quarter of an hour."""
    given: dict[str, Any] = {"name": "failed calls", "result": "failed"}
    if changes.get("measure"):
        given["window_s"] = 900
    return Rule(**(given | changes))


def alerts(*rules: Rule, **pace: int) -> Alerts:
    return Alerts(rules=rules, **pace)


def condition(path: str, **comparison: Any) -> Condition:
    return Condition(path=path, **comparison)


def failed(call_id: str = CALL_ID, ended_at: str = "2027-01-15T08:00:00.000Z", **changes: Any) -> EnrichedCall:
    """A call that failed, out a second after its end."""
    given: dict[str, Any] = {
        "callId": call_id,
        "outcome": {
            "result": "failed",
            "reason": "pipeline-error",
            "endedReason": "pipeline-error-openai-llm-failed",
        },
        "timeline": {
            "endedAt": ended_at,
            "receivedAt": ended_at,
            "fetchedAt": ended_at,
            "emittedAt": ended_at,
            "attempts": 1,
        },
    }
    return enriched_call(**(given | changes))
