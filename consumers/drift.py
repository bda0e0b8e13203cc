"""What Vapi sends that nobody here knows yet: passed on untouched, and counted."""

from collections.abc import Iterator
from typing import Final

from consumers.enriched import EnrichedCall

# Source: the Call schema of Vapi's OpenAPI document, and what captured answers hold beyond it.
KNOWN_FIELDS: Final = frozenset(
    (
        *("id", "orgId", "createdAt", "updatedAt", "type", "status", "endedReason", "endedMessage", "startedAt"),
        *("endedAt", "phoneCallProvider", "phoneCallTransport", "phoneCallProviderId", "phoneCallProviderDetails"),
        *("transport", "destination", "cost", "costs", "costBreakdown", "analysis", "artifact", "artifactPlan"),
        *("monitor", "compliance", "assistantId", "assistant", "assistantOverrides", "assistantVersion"),
        *("squadId", "squad", "squadOverrides", "workflowId", "workflow", "workflowOverrides", "campaignId"),
        *("phoneNumberId", "phoneNumber", "customerId", "customer", "name", "schedulePlan", "messages"),
        *("subscriptionLimits", "metadata", "transcript", "summary", "recordingUrl", "stereoRecordingUrl"),
        *("webCallUrl", "chat"),
    )
)


def drift_of(enriched: EnrichedCall) -> Iterator[str]:
    """`ended-reason` for a reason without a class, and `field` for each unknown field of the call."""
    if enriched.outcome.result == "unknown" and enriched.outcome.ended_reason:
        yield "ended-reason"
    yield from ("field" for _ in enriched.call.keys() - KNOWN_FIELDS)
