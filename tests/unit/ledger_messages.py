"""What the ledger's queue hands out: emitted calls, and notes."""

from typing import Any

import pytest

from consumers.enriched import EnrichedCall, emission
from consumers.ledger import read_event
from consumers.messages import Delivery, Message
from consumers.outcomes import Undecodable
from consumers.settling import Schedule, note
from tests.unit.builders import CALL_ID, enriched_call

AT = 1_800_000_000.5
NOW = AT + 60
SCHEDULE = Schedule((5, 30), 90000)


def delivered(message: Message, **changes: Any) -> Delivery:
    """A published message as the ledger's queue hands it out."""
    given: dict[str, Any] = {
        "queue": "calls.ledger",
        "body": message.body,
        "headers": message.headers,
        "type": message.type,
        "call_id": message.call_id,
        "content_encoding": message.content_encoding,
    }
    return Delivery(**given | changes)


def emitted(call: EnrichedCall | None = None, source: str = "webhook") -> Message:
    return emission(call or enriched_call(), source=source, emitted_at=AT, trace={})


def told(what: str = "retried", call_id: str = CALL_ID, **story: Any) -> Message:
    return note(what, "default", call_id, AT, {f"x-aftercall-{key.replace('_', '-')}": story[key] for key in story})


def undecodable(given: Delivery) -> str:
    with pytest.raises(Undecodable) as caught:
        read_event(given, NOW)
    return str(caught.value)
