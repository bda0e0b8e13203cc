"""Who posts, as the API tells it: `GET /assistant`, `GET /phone-number` and `GET /org`, for `aftercall doctor`."""

from typing import Any

import msgspec

from worker.simulate.script.contents import JSON
from worker.simulate.script.outlines import ORG_ID, PHONE_NUMBER_ID
from worker.simulate.script.speech import ASSISTANTS

_CREDENTIAL_ID = "c7d1f0b2-3a4e-4f5d-8c6b-9e0f1a2b3c4d"
_NUMBER = "+15035550142"


class Sender(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The assistants and numbers of the account; without an `org` that is refused, as to most keys."""

    assistants: tuple[dict[str, Any], ...] = ()
    phone_numbers: tuple[dict[str, Any], ...] = ()
    org: dict[str, Any] | None = None


def well_set(webhook_url: str) -> Sender:
    """Assistants and a number that post there as the README asks; without a URL they post nowhere."""
    server = {"server": _server(webhook_url)} if webhook_url else {}
    return Sender(
        assistants=tuple(
            {"id": each.id, "orgId": ORG_ID, "name": each.name, "serverMessages": _MESSAGES, **server}
            for each in ASSISTANTS.values()
        ),
        phone_numbers=({"id": PHONE_NUMBER_ID, "orgId": ORG_ID, "number": _NUMBER, **server},),
    )


_MESSAGES = ["end-of-call-report", "status-update"]


def _server(url: str) -> JSON:
    backoff = {"type": "exponential", "maxRetries": 10, "baseDelaySeconds": 5, "excludedStatusCodes": [413]}
    return {"url": url, "timeoutSeconds": 20, "credentialId": _CREDENTIAL_ID, "backoffPlan": backoff}
