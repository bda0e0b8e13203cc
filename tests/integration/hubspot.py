"""A simulated HubSpot, and calls that are logged in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from msgspec.structs import replace

from consumers.crm.hubspot import Desk
from consumers.crm.log_call import Logged, log_call
from consumers.crm.rules import Crm
from tests.processes import eventually
from tests.unit.builders import CALL_ID, enriched_call
from worker.clients.hubspot.client import HubSpotClient
from worker.clients.hubspot.wire import Patience
from worker.clients.numbers import PhoneNumbers
from worker.clients.vapi import vapi_session
from worker.settings import load
from worker.simulate.hubspot.server import SimulatedHubSpot
from worker.simulate.hubspot.trouble import Trouble

TOKEN = "pat-simulated"
NUMBER = "+14155550123"
EASY = Trouble(searches_per_s=1000, per_ten_s=100_000)
HURRIED = Patience(request_s=2, turn_s=3, budget_s=1, tries_max=3, backoff_s=0.01, probe_s=2)


@dataclass
class Office:
    """One process that logs calls, beside the HubSpot it logs them in."""

    hubspot: SimulatedHubSpot
    client: HubSpotClient
    rules: Crm

    async def log(self, memo: str = "", *, rules: Crm | None = None, **changes: Any) -> Logged:
        async with self.client.in_time():
            desk = Desk(rules or self.rules, PhoneNumbers(self.rules.region), self.client)
            return await log_call(called(**changes), memo, desk)

    @property
    def contacts(self) -> list[dict[str, str]]:
        return [each["properties"] for each in self.hubspot.tell()["contacts"]]

    @property
    def calls(self) -> list[dict[str, Any]]:
        return list(self.hubspot.tell()["calls"])

    @property
    def requests(self) -> dict[str, int]:
        return dict(self.hubspot.tell()["requests"])

    def change(self, **changes: Any) -> None:
        """Let something else ail HubSpot from now on."""
        self.hubspot.trouble = self.hubspot.trouble.changed(changes)

    async def add_contact(self, **properties: str) -> str:
        """A contact that somebody made in HubSpot."""
        return self.hubspot.portal.create("contacts", {"lastname": "Doe"} | properties, ()).id


def called(number: str | None = NUMBER, call_id: str = CALL_ID, **changes: Any) -> Any:
    """An enriched call from a number; other changes are its customer's."""
    event = {key: changes.pop(key) for key in ("version", "outcome") if key in changes}
    call = {
        "id": call_id,
        "type": "inboundPhoneCall",
        "startedAt": "2026-08-31T17:04:25.612Z",
        "endedAt": "2026-08-31T17:05:55.477Z",
        "phoneNumber": {"number": "+14155550100"},
        "customer": {"number": number, **changes.pop("customer", {})},
        "analysis": {"summary": "They talked.", "structuredData": {}},
    }
    return enriched_call(callId=call_id, call=call | changes, **event)


@asynccontextmanager
async def office(
    rules: Crm | None = None, *, patience: Patience = HURRIED, base_url: str = "", **trouble: Any
) -> AsyncIterator[Office]:
    """A HubSpot without limits unless they are told, and a process that logs calls there."""
    async with (
        SimulatedHubSpot(EASY.changed(trouble)) as hubspot,
        another(hubspot, rules, patience=patience, base_url=base_url) as opened,
    ):
        yield opened


@asynccontextmanager
async def another(
    hubspot: SimulatedHubSpot, rules: Crm | None = None, *, patience: Patience = HURRIED, base_url: str = ""
) -> AsyncIterator[Office]:
    """Another process of the same account."""
    async with client_of(base_url or hubspot.url, rules, patience=patience) as client:
        yield Office(hubspot, client, rules or Crm())


@asynccontextmanager
async def client_of(
    url: str, rules: Crm | None = None, *, patience: Patience = HURRIED
) -> AsyncIterator[HubSpotClient]:
    """A client of whatever is at that address."""
    read = load({"AFTERCALL_CRM_TOKEN": TOKEN, "AFTERCALL_CRM_BASE_URL": url, "AFTERCALL_CRM_RATE": "500"})
    settings = replace(read, crm=rules or Crm())
    async with vapi_session(8, aiohttp.ClientTimeout(total=5)) as http:
        yield HubSpotClient(settings.accounts[0], http, settings, patience=patience)


async def closed(opened: Office) -> None:
    """Wait until its breaker is closed by its own probe."""
    probing = asyncio.ensure_future(opened.client.breaker.run())
    try:
        await eventually(lambda: not opened.client.breaker.is_open)
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
