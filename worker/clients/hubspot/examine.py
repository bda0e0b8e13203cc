"""Looking at one account's HubSpot without changing anything: its token, and the properties that are to be written."""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import msgspec

from consumers.crm.hubspot import Kind
from consumers.crm.rules import Crm
from consumers.enrich import ApiUnavailable
from worker.clients.hubspot.answers import NOT_FOUND, Answer, unavailable
from worker.clients.hubspot.client import NOBODY
from worker.clients.hubspot.keys import API, Key, is_unique, keys_of
from worker.clients.hubspot.wire import Passing, Patience, Wire
from worker.settings import Account, Settings

BRIEF: Final = Patience(request_s=5.0)


class Examined(msgspec.Struct, frozen=True):
    """What was seen: why HubSpot does not serve the account, or else what is amiss with properties there."""

    trouble: str = ""
    to_be_made: tuple[Key, ...] = ()
    not_unique: tuple[Key, ...] = ()
    unknown: tuple[str, ...] = ()
    """Properties that a mapping names and HubSpot does not have, such as `calls.scroe`."""


async def examine(account: Account, http: aiohttp.ClientSession, settings: Settings) -> Examined:
    """Look at the HubSpot of an account that has a token. Raises nothing of the network's."""
    wire = Wire(account, http, settings.crm_base_url, BRIEF)
    kinds: tuple[Kind, ...] = ("contacts", "calls")
    try:
        await _asked(wire, account, "GET", f"/crm/objects/{API}/contacts?limit=1")
        await _asked(wire, account, "PATCH", NOBODY, {"properties": {}}, expected=(400, NOT_FOUND))
        there = {kind: await _asked(wire, account, "GET", f"/crm/properties/{API}/{kind}") for kind in kinds}
    except ApiUnavailable as error:
        return Examined(error.reason)
    return _judge(settings.crm, {kind: _by_name(answer) for kind, answer in there.items()})


async def _asked(
    wire: Wire, account: Account, method: str, path: str, body: Any = None, *, expected: tuple[int, ...] = ()
) -> Answer:
    try:
        answer = await wire.send(method, path, body)
    except Passing as error:
        raise error.trouble from error
    if not answer.is_good and answer.status not in expected:
        raise unavailable(answer, account.name)
    return answer


def _by_name(answer: Answer) -> dict[str, Answer]:
    results = answer.document.get("results") or ()
    return {str(each.get("name")): Answer(200, each) for each in results if isinstance(each, dict)}


def _judge(rules: Crm, there: Mapping[Kind, Mapping[str, Answer]]) -> Examined:
    keys = keys_of(rules)
    mappings: Mapping[Kind, Mapping[str, Any]] = {"contacts": rules.contact_properties, "calls": rules.call_properties}
    wanted = [(kind, name) for kind, mapping in mappings.items() for name, given in mapping.items() if given != ""]
    if rules.external_id_property:
        wanted.append(("contacts", rules.external_id_property))
    present = [key for key in keys if key.name in there[key.kind]]
    return Examined(
        to_be_made=tuple(key for key in keys if key not in present),
        not_unique=tuple(key for key in present if not is_unique(there[key.kind][key.name])),
        unknown=tuple(f"{kind}.{name}" for kind, name in wanted if name not in there[kind]),
    )
