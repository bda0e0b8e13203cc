"""A notification: that a call has ended, as the webhook or the sweep tells it."""

from typing import Any, Final

import msgspec

from consumers.messages import (
    CALL_ID,
    END_OF_CALL_REPORT,
    EVENTS,
    OURS,
    Delivery,
    Identity,
    Journey,
    Message,
    event_headers,
    identity_of,
    journey_of,
    unpack,
)
from consumers.outcomes import Undecodable
from consumers.parts import parts_of, parts_of_message, value_of
from consumers.quoting import quoted
from consumers.timestamps import instant, instant_of_epoch, iso
from consumers.tolerant_json import NotJson

CALL_ENDED: Final = "call.ended"


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """The report of one ended call, and what is known of its way here.

    `report` is Vapi's `message` object, in parts. `ended_at` is never later than `received_at`, whatever a clock said.
    """

    account: str
    call_id: str
    report: dict[str, Any]
    ended_at: float
    journey: Journey
    trace: dict[str, Any]


def read_notification(delivery: Delivery, now: float) -> Notification:
    """The notification in a delivery. Raises `Undecodable` if it is none, telling what it is instead."""
    try:
        report = parts_of_message(unpack(delivery))
    except NotJson as error:
        raise Undecodable(f"not JSON: {error}") from error
    except ValueError as error:
        raise Undecodable(str(error)) from error
    identity = _identity(report)
    if identity.type != END_OF_CALL_REPORT:
        told = quoted(identity.type)
        raise Undecodable(f"message.type is {told}, and only {END_OF_CALL_REPORT!r} tells of an ended call")
    if not CALL_ID.fullmatch(identity.call_id):
        raise Undecodable("message.call.id is missing, or not 1 to 128 printable characters")
    journey = journey_of(delivery, now)
    return Notification(
        account=delivery.account,
        call_id=identity.call_id,
        report=report,
        ended_at=_ended_at(report, journey.received_at),
        journey=journey,
        trace={key: delivery.headers[key] for key in ("traceparent", "tracestate") if key in delivery.headers},
    )


def _identity(report: Any) -> Identity:
    told = parts_of(report) or {}
    call = parts_of(told.get("call")) or {}
    return identity_of({"message": {"type": value_of(told.get("type")), "call": {"id": value_of(call.get("id"))}}})


def _ended_at(report: dict[str, Any], received_at: float) -> float:
    told = instant(value_of(report.get("endedAt"))) or instant_of_epoch(value_of(report.get("timestamp")))
    return min(told or received_at, received_at)


def write_notification(
    packed: tuple[bytes, str | None], *, account: str, call_id: str, source: str, received_at: float, traceparent: str
) -> Message:
    """The message that takes a report's bytes, as `pack` left them, to the account's queue."""
    body, encoding = packed
    headers = event_headers(
        type_=CALL_ENDED, id_=f"{account}/{call_id}/ended", account=account, call_id=call_id, at=received_at
    )
    headers[f"{OURS}source"] = source
    headers[f"{OURS}received-at"] = iso(received_at)
    headers[f"{OURS}attempt"] = 1
    headers["traceparent"] = traceparent
    return Message(
        exchange=EVENTS,
        routing_key=f"{CALL_ENDED}.{account}",
        body=body,
        type=CALL_ENDED,
        call_id=call_id,
        headers=headers,
        content_encoding=encoding,
    )
