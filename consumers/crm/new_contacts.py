"""A contact for whom HubSpot does not know yet, and what the mapping gives a contact."""

from collections.abc import Mapping
from typing import Any

from consumers.crm.contacts import OWN_ID, READ, Match, Person, has_number
from consumers.crm.engagement import Properties
from consumers.crm.hubspot import Desk, HubSpot, Record, Refused
from consumers.crm.rules import Crm
from consumers.crm.values import source_of
from consumers.outcomes import Reject


async def create(person: Person, document: Mapping[str, Any], desk: Desk) -> Match:
    """A new contact for a person; or the one that was created a moment ago, which the search did not show yet.

    Raises `Reject` with HubSpot's words if it will not have it.
    """
    properties = _properties(person, document, desk.rules)
    key = {desk.rules.contact_key: person.phone or person.external_id} if desk.rules.contact_key else {}
    try:
        return Match(await desk.hubspot.create("contacts", _filled(properties | key)), "created")
    except Refused as refused:
        if refused.existing_id:
            return Match(refused.existing_id, "conflict")
        holder = await _holder(key, desk.hubspot)
        if holder is None:
            raise Reject(refused.reason) from refused
    if person.phone and not has_number(holder, person.phone, desk.numbers):
        return await _create_beside(properties, desk.hubspot)
    return Match(holder.id, "key")


async def _holder(key: Properties, hubspot: HubSpot) -> Record | None:
    """Whoever has the value that is to be unique; None if nobody has: then that was not what HubSpot refused."""
    held = [await hubspot.get("contacts", value, READ, by=name) for name, value in key.items() if value]
    return next(filter(None, held), None)


async def _create_beside(properties: Properties, hubspot: HubSpot) -> Match:
    """A contact without the key: who holds it had that number once, and has another by now."""
    try:
        return Match(await hubspot.create("contacts", _filled(properties)), "created")
    except Refused as refused:
        raise Reject(refused.reason) from refused


def mapped(document: Mapping[str, Any], rules: Crm) -> Properties:
    """The properties that the mapping gives a contact."""
    told = {name: source_of(name, given)(document) for name, given in rules.contact_properties.items()}
    return _filled(told)


def _properties(person: Person, document: Mapping[str, Any], rules: Crm) -> Properties:
    first, _, last = person.name.partition(" ")
    told = {"phone": person.phone, "email": person.email, "firstname": first, "lastname": last.strip()}
    if rules.external_id_property and rules.external_id_property != OWN_ID:
        told[rules.external_id_property] = person.external_id
    if not person.name and not person.email:
        told["firstname"] = person.phone or person.external_id  # HubSpot wants a name or an e-mail
    return told | {name: source_of(name, given)(document) for name, given in rules.contact_properties.items()}


def _filled(properties: Properties) -> Properties:
    return {name: text for name, text in properties.items() if text}
