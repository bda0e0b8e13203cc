"""Join what the webhook said with what the API knows, field by field.

The API's value wins where it has one; the webhook fills the holes. With zero data retention, PCI mode, and structured
outputs under HIPAA the content of a call is in the webhook and nowhere else (Vapi's compliance pages).
"""

from typing import Any, Final, Literal

import msgspec

from consumers.parts import is_hole, parts_of, value_of

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
    """The call of a report, in parts or whole, and, if it could be fetched, of `GET /call/<id>`, filled in place."""
    call: dict[str, Any] = {} if fetched is None else fetched
    filled: list[str] = []
    _fill(call, as_call(report), "", filled)
    if fetched is None:
        return Joined(call | {"status": "ended"}, "webhook", sorted(filled))
    return Joined(call, "both" if filled else "api", sorted(filled))


def as_call(report: dict[str, Any]) -> dict[str, Any]:
    """What a report tells, in parts and in the places of a Call object; its holes left out.

    Always in one order: the id of the event is made of the call's bytes.
    """
    known = parts_of(report.get("call")) or {}
    call = {key: known[key] for key in IDENTITY if key in known and not is_hole(known[key])}
    return call | {key: part for key, part in report.items() if key not in NOT_OF_THE_CALL and not is_hole(part)}


def _fill(call: dict[str, Any], told: dict[str, Any], path: str, filled: list[str]) -> None:
    for key, part in told.items():
        here = call.get(key)
        if here and isinstance(here, dict):
            _fill(here, parts_of(part) or {}, f"{path}{key}.", filled)
        elif not here and is_hole(here) and not is_hole(value := value_of(part)):
            call[key] = value
            filled.append(path + key)
