"""Logging a call in the CRM: the contact it belongs to, and one engagement, however often its events come."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from consumers.crm.contacts import NOBODY, Match, find, person_of
from consumers.crm.engagement import Properties, engagement_of
from consumers.crm.hubspot import Desk, Filter, Refused
from consumers.crm.new_contacts import create, mapped
from consumers.enriched import EnrichedCall
from consumers.facts import Facts, facts_of
from consumers.outcomes import Reject
from consumers.paths import document_of

Verdict = Literal["created", "updated", "skipped"]
NO_CONTACT: Final = "-"
EXTERNAL_ID: Final = "hs_call_external_id"


class Logged(msgspec.Struct, frozen=True):
    """What came of it; `memo` is for the next event of the call: the ids of its engagement and its contact."""

    verdict: Verdict
    memo: str
    engagement: str = ""
    match: Match = NOBODY


async def log_call(call: EnrichedCall, memo: str, desk: Desk) -> Logged:
    """Log an event of a call, given the memo of the last one.

    Raises `Reject` with HubSpot's words for what it refuses, and what `HubSpot` raises for what may pass.
    """
    document, facts = document_of(call), facts_of(call)
    if any(rule.holds(document) for rule in desk.rules.skip):
        return Logged("skipped", memo)
    try:
        engagement, noted = _read(memo)
        match = Match(noted, "memo") if noted else await _contact(document, facts, desk)
        if not match.id and desk.rules.without_contact == "skip":
            return Logged("skipped", memo)
        properties = engagement_of(call, document, facts, desk.rules)
        logged = await _log(engagement, call.call_id, properties, match, desk)
        await _tell(match, document, desk)
    except Refused as refused:
        raise Reject(refused.reason) from refused
    return logged


def _read(memo: str) -> tuple[str, str]:
    engagement, _, contact = memo.partition(" ")
    return engagement, contact.replace(NO_CONTACT, "")


async def _contact(document: Mapping[str, Any], facts: Facts, desk: Desk) -> Match:
    person = person_of(document, facts, desk)
    match = await find(person, desk)
    if match.id or not person.is_known or not desk.rules.create_contacts:
        return match
    return await create(person, document, desk)


async def _log(engagement: str, call_id: str, properties: Properties, match: Match, desk: Desk) -> Logged:
    """Update the engagement that is known or found, or create one; one that is gone from HubSpot is created anew."""
    key = desk.rules.call_key
    known = engagement or ("" if key else await _search(call_id, desk))
    if known and await desk.hubspot.update("calls", known, properties):
        return await _updated(known, match, desk)
    try:
        return _logged("created", await desk.hubspot.create("calls", properties, contact=match.id), match)
    except Refused:
        held = await desk.hubspot.update("calls", call_id, properties, by=key) if key else None
        if held is None:
            raise
        return await _updated(held, match, desk)


async def _search(call_id: str, desk: Desk) -> str:
    """The engagement as a search shows it, which is too late for one that is new: only where there is no key."""
    found = await desk.hubspot.search("calls", [Filter(EXTERNAL_ID, call_id)], [EXTERNAL_ID])
    return min((each.id for each in found), default="")


async def _updated(engagement: str, match: Match, desk: Desk) -> Logged:
    if match.id and match.by != "memo":
        await desk.hubspot.associate(engagement, match.id)
    return _logged("updated", engagement, match)


def _logged(verdict: Verdict, engagement: str, match: Match) -> Logged:
    return Logged(verdict, f"{engagement} {match.id or NO_CONTACT}", engagement, match)


async def _tell(match: Match, document: Mapping[str, Any], desk: Desk) -> None:
    """Write to a contact that was there before what the mapping gives it."""
    if not match.id or match.by == "created" or not desk.rules.update_contacts:
        return
    if properties := mapped(document, desk.rules):
        await desk.hubspot.update("contacts", match.id, properties)
