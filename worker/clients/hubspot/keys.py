"""The properties of our own in HubSpot whose values are unique: what makes logging a call twice the same as once."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from consumers.crm.hubspot import Kind
from consumers.crm.rules import Crm
from worker.clients.hubspot.answers import NOT_FOUND, Answer

API: Final = "2026-09"
BESIDE: Final[dict[Kind, str]] = {"contacts": "phone", "calls": "hs_call_title"}
"""A property that every HubSpot account has: ours is put into its group."""
LABELS: Final[dict[Kind, str]] = {"contacts": "Aftercall contact", "calls": "Aftercall call id"}
DESCRIPTION: Final = "Written by Aftercall, so that nothing is logged twice. Please leave it as it is."
REFUSALS: Final = (400, 403, 404, 409)

Once = Callable[..., Awaitable[Answer]]


class Key(msgspec.Struct, frozen=True):
    """A property with unique values."""

    kind: Kind
    name: str

    @property
    def path(self) -> str:
        """Where its definition is."""
        return f"/crm/properties/{API}/{self.kind}/{self.name}"

    @property
    def setting(self) -> str:
        """What names it in `[crm]`."""
        return "call_key" if self.kind == "calls" else "contact_key"


def keys_of(rules: Crm) -> list[Key]:
    """The keys that the rules ask for."""
    wanted = (Key("contacts", rules.contact_key), Key("calls", rules.call_key))
    return [key for key in wanted if key.name]


async def trouble_of(key: Key, once: Once) -> str:
    """Make a key if HubSpot has none of that name; why there is none, or an empty text.

    Raises `ApiUnavailable` if HubSpot cannot be asked.
    """
    found = await once("GET", key.path, expected=REFUSALS)
    if found.status == NOT_FOUND:
        made = await _make(key, once)
        # Another process may have been faster.
        found = made if made.is_good else await once("GET", key.path, expected=REFUSALS)
        if not found.is_good:
            return f"{missing(key)}; HubSpot did not let us ({made.status}): {made.words}"
    if not found.is_good:
        return f"{missing(key)}; HubSpot does not let us look ({found.status}): {found.words}"
    return "" if is_unique(found) else not_unique(key)


async def _make(key: Key, once: Once) -> Answer:
    beside = await once("GET", f"/crm/properties/{API}/{key.kind}/{BESIDE[key.kind]}")
    definition = {
        "name": key.name,
        "label": LABELS[key.kind],
        "description": DESCRIPTION,
        "groupName": beside.document.get("groupName"),
        "type": "string",
        "fieldType": "text",
        "hasUniqueValue": True,
    }
    return await once("POST", f"/crm/properties/{API}/{key.kind}", definition, expected=REFUSALS)


def is_unique(definition: Answer) -> bool:
    """Whether a property's values are unique."""
    return isinstance(definition.document, dict) and definition.document.get("hasUniqueValue") is True


def missing(key: Key) -> str:
    """What to do where the key is missing and cannot be made."""
    scope = f"crm.schemas.{key.kind}.write"
    return (
        f"there is no property {key.name} of {key.kind}: give the token the scope {scope}, or make it by hand"
        f' (single-line text, unique values), or do without ({key.setting} = "" in [crm])'
    )


def not_unique(key: Key) -> str:
    """What to do where a property of that name was made otherwise, which cannot be changed afterwards."""
    return f"the values of property {key.name} of {key.kind} are not unique: choose another {key.setting} in [crm]"
