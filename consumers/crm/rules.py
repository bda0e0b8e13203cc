"""The table `[crm]` of `aftercall.toml`: which calls go to the CRM, to which contact, and what is written there."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from consumers.conditions import Condition
from consumers.crm.values import Given, source_of
from consumers.paths import WrongPath

Place = tuple[str | int, ...]
PROPERTY: Final = re.compile(r"[a-z0-9_]{1,100}")
REGION: Final = re.compile(r"[A-Z]{2}")
MAPPINGS: Final = ("call_properties", "contact_properties")


class Crm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an installation decides about its CRM.

    A mapping gives HubSpot's properties, by their internal names, what `crm.values` describes; it goes before what is
    given by default, and "" takes that away.
    """

    create_contacts: bool = True
    """Whether a caller that HubSpot does not know becomes a contact."""
    update_contacts: bool = True
    """Whether `contact_properties` are written to a contact that was found, too; name, number and e-mail never are."""
    without_contact: Literal["log", "skip"] = "log"
    """What becomes of a call that belongs to no contact, such as one from the web."""
    on_two_matches: Literal["oldest", "recent", "reject"] = "oldest"
    """Which of several contacts gets the call: the first created, the one last changed, or none, as a dead letter."""
    external_id_property: str = ""
    """The property of contacts that holds what `external_id_path` leads to; it is looked for first."""
    external_id_path: str = "facts.customer_external_id"
    region: str = ""
    """The country (`US`, `DE`) of numbers that are written without one."""
    call_key: str = "aftercall_call_id"
    contact_key: str = "aftercall_contact"
    """Properties of our own, with unique values, by which nothing is created twice; "" does without."""
    call_properties: dict[str, Given] = {}
    contact_properties: dict[str, Given] = {}
    dispositions: dict[str, str] = {}
    """HubSpot's call outcome (its GUID) by class of reason or, before that, by Vapi's `endedReason`."""
    skip: tuple[Condition, ...] = ()
    """A call for which any of these holds is left out."""

    def problems(self) -> Iterator[tuple[Place, str]]:
        """What the types cannot tell: where in the table, and what is wrong."""
        for index, condition in enumerate(self.skip):
            yield from ((("skip", index, *place), told) for place, told in condition.problems())
        for name in MAPPINGS:
            yield from _wrong_in(name, getattr(self, name))
        yield from self._wrong_keys()

    def _wrong_keys(self) -> Iterator[tuple[Place, str]]:
        for name in ("external_id_property", "call_key", "contact_key"):
            if (given := getattr(self, name)) and not PROPERTY.fullmatch(given):
                yield (name,), _no_property(given)
        if self.region and not REGION.fullmatch(self.region):
            yield ("region",), "a country is two capital letters, such as US"
        try:
            source_of("", self.external_id_path)
        except WrongPath as error:
            yield ("external_id_path",), str(error)


def _wrong_in(mapping: str, given: Mapping[str, Given]) -> Iterator[tuple[Place, str]]:
    for name, value in given.items():
        if not PROPERTY.fullmatch(name):
            yield (mapping, name), _no_property(name)
        try:
            source_of(name, value)
        except WrongPath as error:
            yield (mapping, name), str(error)


def _no_property(name: str) -> str:
    return f"{name!r} is no internal name of a property: those are small letters, digits and _, such as hs_call_title"
