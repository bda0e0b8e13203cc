"""Deliveries to settle, and settlements to look into."""

from typing import Any

from consumers.messages import Delivery, Message
from consumers.outcomes import Reject, Undecodable
from consumers.settling import Schedule, Settlement, settle
from consumers.timestamps import iso
from tests.unit.builders import RECEIVED_AT, delivery

TIERS = (5, 30, 120, 600, 3600, 21600)
GIVE_UP_AFTER_S = 90_000
QUIET = Schedule(TIERS, GIVE_UP_AFTER_S, notes=False)
NOTING = Schedule(TIERS, GIVE_UP_AFTER_S)
NOW = RECEIVED_AT + 0.5
WAITS = ("calls.retry.5s", "calls.retry.30s", "calls.retry.2m", "calls.retry.10m", "calls.retry.1h", "calls.retry.6h")
FIRST = Message(
    exchange="calls", routing_key="call.enriched.default.completed.voicemail", body=b"{}", type="call.enriched"
)
BODY = b'{"message": "\xff\\ud83d'


class MyReject(Reject):
    pass


class MyUndecodable(Undecodable):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def came(attempt: int = 1, age_s: float = 0, **changes: Any) -> Delivery:
    """A delivery whose first attempt was `age_s` before NOW."""
    headers = {
        "x-aftercall-account": "default",
        "x-aftercall-attempt": attempt,
        "x-aftercall-first-attempt-at": iso(NOW - age_s),
        "x-aftercall-received-at": iso(RECEIVED_AT),
        **changes.pop("headers", {}),
    }
    return delivery(changes.pop("body", BODY), headers, **changes)


def settled(said: Any, of: Delivery | None = None, schedule: Schedule = QUIET, now: float = NOW) -> Settlement:
    return settle(of or came(), said, schedule=schedule, now=now)


def only(settlement: Settlement) -> Message:
    (message,) = settlement.messages
    return message


def exchange(said: Any, of: Delivery | None = None) -> str:
    return only(settled(said, of)).exchange


def raised(error: Exception) -> Exception:
    """`error` with a traceback, as a consumer's has one."""
    try:
        raise error
    except type(error) as caught:  # it is the one just raised
        return caught
