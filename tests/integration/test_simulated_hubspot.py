"""The simulated HubSpot, asked by a plain HTTP client."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from worker.simulate.hubspot.server import SimulatedHubSpot
from worker.simulate.hubspot.trouble import Trouble, parse

CONTACTS = "/crm/objects/2026-09/contacts"
CALLS = "/crm/objects/2026-09/calls"
CALL = {"hs_timestamp": "2026-08-31T17:04:25.612Z"}


@dataclass
class Asked:
    status: int
    body: Any
    headers: Any


@dataclass
class User:
    hubspot: SimulatedHubSpot
    http: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Any = None, token: str = "pat-simulated") -> Asked:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.request(method, self.hubspot.url + path, json=body, headers=headers) as answer:
            return Asked(answer.status, await answer.json(), answer.headers)

    async def make(self, path: str, **properties: str) -> Asked:
        return await self.ask("POST", path, {"properties": properties})

    async def found(self, **equal: str) -> int:
        groups = [
            {"filters": [{"propertyName": name, "operator": "EQ", "value": value}]} for name, value in equal.items()
        ]
        answer = await self.ask("POST", f"{CONTACTS}/search", {"filterGroups": groups})
        return len(answer.body["results"])


@pytest.fixture
async def user() -> AsyncIterator[User]:
    async with SimulatedHubSpot() as hubspot, aiohttp.ClientSession() as http:
        yield User(hubspot, http)


async def test_a_contact_is_made_read_found_and_changed(user: User) -> None:
    made = await user.make(CONTACTS, lastname="Doe", phone="(415) 555-0123", email="jo@example.com")
    changed = await user.ask("PATCH", f"{CONTACTS}/{made.body['id']}", {"properties": {"phone": ""}})
    read = await user.ask("GET", f"{CONTACTS}/jo@example.com?idProperty=email&properties=lastname,phone")

    assert (made.status, changed.status) == (201, 200)
    assert read.body["properties"] == {"lastname": "Doe", "phone": None}
    assert await user.found(email="JO@example.com") == 1


async def test_a_number_is_searched_without_its_country(user: User) -> None:
    await user.make(CONTACTS, lastname="Doe", phone="+44 20 7946 0958")

    assert await user.found(hs_searchable_calculated_phone_number="2079460958") == 1
    assert await user.found(hs_searchable_calculated_phone_number="442079460958") == 0


async def test_a_search_of_too_many_characters_is_refused(user: User) -> None:
    asked = {"filters": [{"propertyName": "email", "operator": "EQ", "value": "x" * 3000}]}

    refused = await user.ask("POST", f"{CONTACTS}/search", {"filterGroups": [asked]})

    assert (refused.status, "3000 characters" in refused.body["message"]) == (400, True)


async def test_a_search_shows_what_was_written_after_a_while(user: User) -> None:
    user.hubspot.trouble = Trouble(search_lag_s=60)
    await user.make(CONTACTS, lastname="Doe", email="jo@example.com")
    assert await user.found(email="jo@example.com") == 0

    user.hubspot.trouble = Trouble()
    assert await user.found(email="jo@example.com") == 1


@pytest.mark.parametrize(
    ("path", "properties", "status", "category", "said"),
    [
        (CONTACTS, {"phone": "+14155550123"}, 400, "VALIDATION_ERROR", "One of email, firstname, lastname"),
        (CONTACTS, {"lastname": "x", "nothing": "1"}, 400, "VALIDATION_ERROR", "PROPERTY_DOESNT_EXIST"),
        (CONTACTS, {"email": "no address"}, 400, "VALIDATION_ERROR", "INVALID_EMAIL"),
        (CONTACTS, {"email": "jo@example.com"}, 409, "CONFLICT", "Contact already exists. Existing ID: 101"),
        (CONTACTS, {"lastname": "x", "createdate": "1"}, 400, "VALIDATION_ERROR", "READ_ONLY_VALUE"),
        (CALLS, {"hs_call_title": "x"}, 400, "VALIDATION_ERROR", "required properties"),
        (CALLS, {**CALL, "hs_call_status": "DONE"}, 400, "VALIDATION_ERROR", "INVALID_OPTION"),
        (CALLS, {**CALL, "hs_call_duration": "long"}, 400, "VALIDATION_ERROR", "was not a valid number"),
        (CALLS, {**CALL, "hs_call_body": "x" * 65537}, 400, "VALIDATION_ERROR", "longer than 65536"),
        (CALLS, {**CALL, "hs_call_recording_url": "http://x/a.wav"}, 400, "VALIDATION_ERROR", "INVALID_URL"),
    ],
)
async def test_what_does_not_fit_is_refused_in_hubspots_words(
    user: User, path: str, properties: dict[str, str], status: int, category: str, said: str
) -> None:
    await user.make(CONTACTS, email="jo@example.com")

    refused = await user.make(path, **properties)

    assert (refused.status, refused.body["category"]) == (status, category)
    assert said in refused.body["message"]
    assert refused.body["correlationId"]


async def test_a_property_with_unique_values_takes_each_once(user: User) -> None:
    definition = {"name": "key", "label": "Key", "groupName": "callinformation", "type": "string", "fieldType": "text"}
    path = "/crm/properties/2026-09/calls"
    assert (await user.ask("POST", path, definition | {"hasUniqueValue": True})).status == 201
    assert (await user.ask("POST", path, definition)).status == 409

    first = await user.make(CALLS, **CALL, key="a")
    second = await user.make(CALLS, **CALL, key="a")
    again = await user.ask("PATCH", f"{CALLS}/a?idProperty=key", {"properties": {"key": "a", "hs_call_title": "t"}})

    assert (second.status, "CONFLICTING_UNIQUE_VALUE" in second.body["message"]) == (400, True)
    assert (again.status, again.body["id"]) == (200, first.body["id"])
    assert (await user.ask("PATCH", f"{CALLS}/b?idProperty=key", {"properties": {}})).status == 404
    assert (await user.ask("PATCH", f"{CALLS}/b?idProperty=hs_call_title", {"properties": {}})).status == 400


async def test_the_limits_are_told_in_headers_and_kept(user: User) -> None:
    user.hubspot.trouble = Trouble(per_ten_s=2, searches_per_s=1, per_day=4, retry_after_s=3)

    first = await user.ask("GET", CONTACTS)
    assert await user.found(lastname="x") == 0
    searched = await user.ask("POST", f"{CONTACTS}/search", {"filterGroups": []})
    await user.ask("GET", CONTACTS)
    third = await user.ask("GET", CONTACTS)

    assert (first.headers["X-HubSpot-RateLimit-Remaining"], first.headers["X-HubSpot-RateLimit-Max"]) == ("1", "2")
    assert (searched.status, searched.body["policyName"]) == (429, "SECONDLY")
    assert "X-HubSpot-RateLimit-Max" not in searched.headers
    assert (third.status, third.body["policyName"]) == (429, "TEN_SECONDLY_ROLLING")
    assert third.headers["Retry-After"] == "3"

    user.hubspot.trouble = Trouble(per_day=3)
    assert (await user.ask("GET", CONTACTS)).body["policyName"] == "DAILY"


async def test_a_wrong_token_and_a_scope_that_is_missing_are_told(user: User) -> None:
    user.hubspot.trouble = Trouble(scopes=("crm.objects.contacts.read",))

    wrong = await user.ask("GET", CONTACTS, token="x")
    lacking = await user.make(CONTACTS, lastname="x")

    assert (wrong.status, wrong.body["category"]) == (401, "INVALID_AUTHENTICATION")
    assert (lacking.status, lacking.body["category"]) == (403, "MISSING_SCOPES")
    assert lacking.body["errors"][0]["context"] == {"requiredGranularScopes": ["crm.objects.contacts.write"]}


async def test_the_control_door_tells_the_account_and_changes_the_trouble(user: User) -> None:
    changed = await user.ask("POST", "/_simulate/faults", {"search_lag_s": 5})
    wrong = await user.ask("POST", "/_simulate/faults", {"serch_lag_s": 5})
    told = await user.ask("GET", "/_simulate/account", token="")

    assert (changed.status, user.hubspot.trouble.search_lag_s) == (200, 5.0)
    assert wrong.status == 400
    assert set(told.body) == {"contacts", "calls", "properties", "requests", "limited"}


def test_faults_are_read_from_a_line() -> None:
    assert Trouble().changed(parse("lost=0.1, search_lag_s=5")) == Trouble(lost=0.1, search_lag_s=5.0)
    with pytest.raises(ValueError, match="lots: there are token"):
        parse("lots=1")
