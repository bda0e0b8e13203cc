"""The properties of contacts and calls: their definitions, and what fits them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

Kind = Literal["contacts", "calls"]
LONGEST: Final = 65536
EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
GROUPS: Final[Mapping[Kind, str]] = {"contacts": "contactinformation", "calls": "callinformation"}
STATUSES: Final = (
    *("BUSY", "CALLING_CRM_USER", "CANCELED", "COMPLETED", "CONNECTING"),
    *("FAILED", "IN_PROGRESS", "NO_ANSWER", "QUEUED", "RINGING"),
)


class Property(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The definition of a property."""

    name: str
    label: str
    group_name: str
    type: str = "string"
    field_type: str = "text"
    has_unique_value: bool = False
    description: str = ""
    options: tuple[str, ...] = ()
    is_read_only: bool = False

    def tell(self) -> dict[str, Any]:
        """As the API has it."""
        told = msgspec.to_builtins(self)
        told["options"] = [{"label": value, "value": value} for value in self.options]
        told["modificationMetadata"] = {"readOnlyValue": told.pop("isReadOnly"), "archivable": True}
        return dict(told)


TEXTS: Final[Mapping[Kind, str]] = {
    "contacts": "firstname lastname email phone mobilephone company hs_additional_emails",
    "calls": "hs_call_title hs_call_body hs_call_from_number hs_call_to_number hs_call_recording_url"
    " hs_call_external_id hs_call_disposition hs_timestamp",
}
READ_ONLY: Final[Mapping[Kind, str]] = {
    "contacts": "hs_object_id createdate lastmodifieddate"
    " hs_searchable_calculated_phone_number hs_searchable_calculated_mobile_number",
    "calls": "hs_object_id hs_createdate hs_lastmodifieddate",
}
NUMBERS: Final[Mapping[Kind, str]] = {"contacts": "", "calls": "hs_call_duration hubspot_owner_id"}
CHOICES: Final[Mapping[Kind, Mapping[str, tuple[str, ...]]]] = {
    "contacts": {},
    "calls": {"hs_call_direction": ("INBOUND", "OUTBOUND"), "hs_call_status": STATUSES},
}


def defaults(kind: Kind) -> dict[str, Property]:
    """The properties that every account has, of those that matter here."""
    made: dict[str, dict[str, Any]] = {name: {} for name in TEXTS[kind].split()}
    made |= {name: {"is_read_only": True} for name in READ_ONLY[kind].split()}
    made |= {name: {"type": "number", "field_type": "number"} for name in NUMBERS[kind].split()}
    made |= {name: {"type": "enumeration", "options": options} for name, options in CHOICES[kind].items()}
    return {name: Property(name=name, label=name, group_name=GROUPS[kind], **more) for name, more in made.items()}


def problems_of(known: Mapping[str, Property], given: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """What does not fit, as HubSpot lists it."""
    for name, value in given.items():
        if (found := known.get(name)) is None:
            yield {"message": f'Property "{name}" does not exist', "error": "PROPERTY_DOESNT_EXIST", "name": name}
        elif (problem := _problem(found, value)) is not None:
            yield {"message": problem[1], "error": problem[0], "name": name}


def _problem(found: Property, value: str) -> tuple[str, str] | None:
    if found.is_read_only:
        return "READ_ONLY_VALUE", f'"{found.name}" is a read only property; its value cannot be set.'
    if len(value) > LONGEST:
        return "PROPERTY_VALUE_TOO_LONG", f"{found.name} is longer than {LONGEST} characters"
    if found.options and value not in found.options:
        return "INVALID_OPTION", f"{value} was not one of the allowed options: {', '.join(found.options)}"
    if found.type == "number" and not re.fullmatch(r"-?\d+(\.\d+)?", value):
        return "INVALID_NUMBER", f"{value} was not a valid number."
    return _odd(found.name, value)


def _odd(name: str, value: str) -> tuple[str, str] | None:
    if name == "email" and not EMAIL.fullmatch(value):
        return "INVALID_EMAIL", f"Email address {value} is invalid"
    if name == "hs_call_recording_url" and not value.startswith("https://"):
        return "INVALID_URL", f"{value} is no secure URL"
    return None
