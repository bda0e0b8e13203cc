"""The client before a HubSpot that is slow, quotes what it was asked, or makes a key otherwise than it was asked to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from consumers.crm.hubspot import Filter, Refused
from consumers.outcomes import Hold, Retry
from tests.integration.hubspot import HURRIED, NUMBER, client_of
from tests.integration.vapi_api import Play
from tests.serving import listening
from worker.clients.hubspot.client import HubSpotClient
from worker.clients.hubspot.wire import Patience


@asynccontextmanager
async def before(play: Play, patience: Patience = HURRIED) -> AsyncIterator[HubSpotClient]:
    """A client of a server that does to each request whatever it is told to."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", play)
    async with listening(application) as url, client_of(url, patience=patience) as client:
        yield client


def answer(status: int = 200, **content: Any) -> web.Response:
    return web.json_response({"id": "1", "results": [], "hasUniqueValue": True} | content, status=status)


async def test_however_slow_it_is_a_call_is_held_within_its_time_and_that_of_one_request() -> None:
    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.4)
        return answer()

    async with before(slow, Patience(whole_s=0.2, probe_s=0.5)) as client, asyncio.timeout(1.2):
        with pytest.raises(Hold, match="does not answer in time"):
            async with client.in_time():
                await client.get("calls", "1", ())


async def test_what_it_quotes_of_a_search_is_told_without_the_callers_number() -> None:
    async def quote(request: web.Request) -> web.Response:
        return answer(400, message=f"no filter is {NUMBER}") if request.path.endswith("/search") else answer()

    async with before(quote) as client:
        with pytest.raises(Refused) as refused:
            await client.search("contacts", [Filter("phone", NUMBER)], ())

    assert refused.value.reason == "HubSpot refuses it (400): “no filter is <phone>”"


async def test_a_403_of_a_firewall_that_dislikes_the_words_of_one_call_is_that_calls_own() -> None:
    async def dislike(request: web.Request) -> web.Response:
        return web.Response(status=403, text="<html>") if b"DROP TABLE" in await request.read() else answer()

    async with before(dislike) as client:
        with pytest.raises(Retry, match="HubSpot answers 403: without a word, though it answers others"):
            await client.create("calls", {"hs_call_body": "'; DROP TABLE calls"})

        assert not client.breaker.is_open


async def test_a_key_that_it_makes_without_unique_values_is_none() -> None:
    async def ignore(request: web.Request) -> web.Response:
        if request.method == "GET" and request.path.endswith(("aftercall_call_id", "aftercall_contact")):
            return answer(404)
        return answer(hasUniqueValue=False)

    async with before(ignore) as client:
        with pytest.raises(Hold, match="aftercall_contact of contacts are not unique: choose another contact_key"):
            await client.get("calls", "1", ())
