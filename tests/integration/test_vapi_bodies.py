"""Bodies of calls, as Vapi and what stands before it are known to send them."""

import gzip

import aiohttp
import pytest
from aiohttp import web

from consumers.enrich import CallUnreadable, ask
from tests.integration.vapi_api import Api, Play, client, cut_off, endless, fetch, json
from tests.unit.builders import CALL_ID
from worker.clients.vapi import Patience


async def test_a_compressed_answer_is_unpacked(api: Api) -> None:
    packed = json(200, gzip.compress(b'{"id": 1}'), **{"Content-Encoding": "gzip"})

    assert await fetch(api, packed) == b'{"id": 1}'


async def test_a_body_that_is_cut_off_is_tried_again(api: Api) -> None:
    assert await fetch(api, cut_off, json(200, b"call")) == b"call"


async def test_a_body_that_is_always_cut_off_is_the_calls_own_trouble(api: Api) -> None:
    with pytest.raises(CallUnreadable, match="cut off"):
        await fetch(api, cut_off)
    assert len(api.requests) == 3


async def test_a_body_that_is_not_compressed_as_it_says_is_the_calls_own_trouble(api: Api) -> None:
    with pytest.raises(CallUnreadable):
        await fetch(api, json(200, b"no gzip", **{"Content-Encoding": "gzip"}))


@pytest.mark.parametrize(
    "huge",
    [endless, json(200, b"x" * 2_000_001), json(200, gzip.compress(b" " * 2_000_001), **{"Content-Encoding": "gzip"})],
)
async def test_a_body_larger_than_the_limit_is_not_read_to_its_end(api: Api, huge: web.Response | Play) -> None:
    patience = Patience(budget_s=2, tries_max=3, backoff_s=0.01, body_max_bytes=2_000_000)
    with pytest.raises(CallUnreadable, match="larger than 2000000 bytes"):
        await fetch(api, huge, patience=patience, limits=aiohttp.ClientTimeout(total=10))
    assert len(api.requests) == 1


async def test_a_body_as_large_as_the_limit_is_read(api: Api) -> None:
    patience = Patience(budget_s=2, tries_max=3, backoff_s=0.01, body_max_bytes=2_000_000)
    body = b"x" * 2_000_000
    assert await fetch(api, json(200, body), patience=patience) == body


@pytest.mark.parametrize(
    "unreadable",
    [
        cut_off,
        json(200, b"<html>Welcome</html>", **{"Content-Type": "text/html"}),
        json(200, b""),
        json(200, b"[]"),
        json(200, b'{"id": "another"}'),
        json(200, b"no gzip", **{"Content-Encoding": "gzip"}),
        json(200, b"x" * 2_000_001),
    ],
)
async def test_a_call_that_cannot_be_read_is_its_own_trouble_whatever_befalls_the_others(
    api: Api, unreadable: web.Response | Play
) -> None:
    api.answers = [unreadable]
    patience = Patience(tries_max=2, backoff_s=0.01, body_max_bytes=2_000_000)
    async with client(api.url, patience) as vapi:
        answer = await ask(CALL_ID, vapi.fetch_call)

        assert (bool(answer.trouble), answer.is_shared) == (True, False)
        assert not vapi.breaker.is_open
