"""Join what the webhook said with what the API knows, field by field.

The API's value wins where it has one; the webhook fills the holes. With zero data retention, PCI mode, and structured
outputs under HIPAA the content of a call is in the webhook and nowhere else (Vapi's compliance pages).
"""

from typing import Any, Final, Literal

import msgspec

HOLLOW: Final = (str, list, dict)
Source = Literal["api", "webhook", "both"]

# Of `message.call`, a snapshot from the call's creation, only what cannot have changed since.
IDENTITY: Final = (
    *("id", "orgId", "type", "createdAt", "assistantId", "squadId", "workflowId", "campaignId"),
    *("phoneNumberId", "phoneNumber", "customerId", "customer", "name", "metadata", "transport"),
    *("phoneCallProvider", "phoneCallProviderId", "phoneCallTransport"),
)
# Of the report, what is about the message and not about the call.
NOT_OF_THE_CALL: Final = {"type", "timestamp", "call", "durationMs", "durationSeconds", "durationMinutes"}


class Joined(msgspec.Struct):
    """A call as both sides know it; `from_webhook` are the paths whose whole value the webhook gave."""

    call: dict[str, Any]
    source: Source
    from_webhook: list[str]


def join(report: dict[str, Any], fetched: dict[str, Any] | None) -> Joined:
    """The call of a report and, if it could be fetched, of `GET /call/<id>`. `fetched` is filled in place."""
    told = as_call(report)
    if fetched is None:
        return Joined(told | {"status": "ended"}, "webhook", sorted(told))
    filled: list[str] = []
    _fill(fetched, told, "", filled)
    return Joined(fetched, "both" if filled else "api", sorted(filled))


def as_call(report: dict[str, Any]) -> dict[str, Any]:
    """What a report tells, in the places of a Call object; its holes left out."""
    snapshot = report.get("call")
    known = snapshot if isinstance(snapshot, dict) else {}
    call = {key: known[key] for key in IDENTITY if not is_hole(known.get(key))}
    return call | {key: value for key, value in report.items() if key not in NOT_OF_THE_CALL and not is_hole(value)}


def is_hole(value: Any) -> bool:
    """Whether there is nothing in a value: null, or an empty text, list or object. 0 and false are something."""
    return value is None or (not value and isinstance(value, HOLLOW))


def _fill(call: dict[str, Any], told: dict[str, Any], path: str, filled: list[str]) -> None:
    for key, value in told.items():
        here = call.get(key)
        if is_hole(value):
            continue
        if here and isinstance(here, dict) and isinstance(value, dict):
            _fill(here, value, f"{path}{key}.", filled)
        elif is_hole(here):
            call[key] = value
            filled.append(path + key)
