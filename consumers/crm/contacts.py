"""Which contact a call belongs to, looked for by external id, number and e-mail, in this order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from consumers.crm.hubspot import Desk, Filter, Numbers, Record
from consumers.crm.rules import Crm
from consumers.crm.values import source_of, text_of
from consumers.facts import Facts
from consumers.outcomes import Reject
from consumers.timestamps import instant

OWN_ID: Final = "hs_object_id"
READ: Final = ("phone", "mobilephone", "email", "hs_additional_emails", "createdate", "lastmodifieddate", OWN_ID)


class Person(msgspec.Struct, frozen=True):
    """Whom a call was with, as far as it tells; the number is in E.164."""

    external_id: str = ""
    phone: str = ""
    email: str = ""
    name: str = ""

    @property
    def is_known(self) -> bool:
        """Whether there is anything to tell them from others by."""
        return bool(self.external_id or self.phone or self.email)


class Match(msgspec.Struct, frozen=True):
    """The contact of a call, if any: how it was found, and among how many."""

    id: str = ""
    by: str = ""
    among: int = 1


NOBODY: Final = Match()


class _Way(msgspec.Struct, frozen=True):
    """One way to look for a contact: what to search for, and whether a record that was found is really meant."""

    by: str
    any_of: Sequence[Filter]
    is_meant: Callable[[Record], bool]


def person_of(document: Mapping[str, Any], facts: Facts, desk: Desk) -> Person:
    """Whom the call was with."""
    rules = desk.rules
    return Person(
        external_id=source_of("", rules.external_id_path)(document) if rules.external_id_property else "",
        phone=desk.numbers.e164(facts.customer_number or "", facts.our_number or ""),
        email=text_of(facts.customer_email).lower(),
        name=text_of(facts.customer_name),
    )


async def find(person: Person, desk: Desk) -> Match:
    """The contact that HubSpot has for a person. Raises `Reject` if there are several and the rules want one."""
    properties = [*READ, *filter(None, (desk.rules.external_id_property,))]
    for way in _ways(person, desk.rules, desk.numbers):
        found = [each for each in await desk.hubspot.search("contacts", way.any_of, properties) if way.is_meant(each)]
        if found:
            return Match(_choose(found, desk.rules, way.by).id, way.by, len(found))
    return NOBODY


def _ways(person: Person, rules: Crm, numbers: Numbers) -> list[_Way]:
    ways = []
    if person.external_id:
        name, wanted = rules.external_id_property, person.external_id
        ways.append(_Way("external id", [Filter(name, wanted)], lambda each: each.text(name).lower() == wanted.lower()))
    if person.phone:
        searched = _of_number(person.phone, numbers)
        ways.append(_Way("phone", searched, lambda each: has_number(each, person.phone, numbers)))
    if person.email:
        ways.append(_Way("email", _of_email(person.email), lambda each: person.email in _emails(each)))
    return ways


def _of_number(number: str, numbers: Numbers) -> list[Filter]:
    """However it is written: HubSpot searches numbers without their country, unless it could not tell which it is.

    Five conditions are what a search may have. More than is meant may be found.
    """
    national = numbers.national(number)
    return [
        Filter("hs_searchable_calculated_phone_number", national),
        Filter("hs_searchable_calculated_phone_number", f"*{national}", "CONTAINS_TOKEN"),
        Filter("hs_searchable_calculated_mobile_number", f"*{national}", "CONTAINS_TOKEN"),
        Filter("phone", number),
        Filter("mobilephone", number),
    ]


def _of_email(email: str) -> list[Filter]:
    return [Filter("email", email), Filter("hs_additional_emails", email, "CONTAINS_TOKEN")]


def has_number(record: Record, number: str, numbers: Numbers) -> bool:
    """Whether a contact has that number, in E.164, however it is written there."""
    return any(numbers.e164(record.text(name), number) == number for name in ("phone", "mobilephone"))


def _emails(record: Record) -> list[str]:
    written = (record.text("email"), *record.text("hs_additional_emails").split(";"))
    return [each.strip().lower() for each in written]


def _choose(found: Sequence[Record], rules: Crm, by: str) -> Record:
    if len(found) > 1 and rules.on_two_matches == "reject":
        ids = ", ".join(each.id for each in found)
        raise Reject(f"{len(found)} contacts in HubSpot have the caller's {by}: {ids}; merge them there")
    if rules.on_two_matches == "recent":
        return max(found, key=lambda each: (instant(each.text("lastmodifieddate")) or 0.0, each.id))
    return min(found, key=lambda each: (instant(each.text("createdate")) or 0.0, len(each.id), each.id))
