"""HubSpot's errors, as it words them."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web


class Refusal(Exception):
    """An answer other than a good one."""

    def __init__(self, status: int, category: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"status": "error", "message": message, "correlationId": str(uuid.uuid4()), "category": category}
        self.body |= more


def answer(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer as JSON."""
    return web.Response(body=orjson.dumps(content), status=status, headers=headers, content_type="application/json")


def unauthenticated() -> Refusal:
    """The token is none, or was revoked."""
    told = "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more"
    return Refusal(401, "INVALID_AUTHENTICATION", f"{told} details at https://developers.hubspot.com/docs/methods/auth")


def lacks(scope: str) -> Refusal:
    """The token may not do that."""
    detail = {
        "message": "One or more of the following scopes are required.",
        "context": {"requiredGranularScopes": [scope]},
    }
    told = "This app hasn't been granted all required scopes to make this call."
    return Refusal(403, "MISSING_SCOPES", told, errors=[detail])


def not_found(what: str = "resource not found") -> Refusal:
    """There is no such record or property."""
    return Refusal(404, "OBJECT_NOT_FOUND", what)


def invalid(problems: Sequence[Mapping[str, Any]]) -> Refusal:
    """Values that do not fit their properties."""
    told = orjson.dumps([{"isValid": False, **problem} for problem in problems]).decode()
    return Refusal(400, "VALIDATION_ERROR", f"Property values were not valid: {told}")


def taken(name: str, value: str, holder: str) -> dict[str, str]:
    """A value that is to be unique, and is another record's."""
    message = (
        f"Cannot set PropertyValueCoordinates{{propertyName={name}, value={value}}}. {holder} already has that value."
    )
    return {"message": message, "error": "CONFLICTING_UNIQUE_VALUE", "name": name}


def contact_exists(id_: str) -> Refusal:
    """A contact with that e-mail is there."""
    return Refusal(409, "CONFLICT", f"Contact already exists. Existing ID: {id_}")


def limited(policy: str) -> dict[str, str]:
    """The body of a 429."""
    return {
        "status": "error",
        "message": f"You have reached your {policy.lower()} limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": str(uuid.uuid4()),
        "policyName": policy,
    }
