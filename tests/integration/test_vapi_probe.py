"""The breaker's probe: whether Vapi serves anybody."""

import pytest
from aiohttp import web

from consumers.enrich import ApiUnavailable
from tests.integration.vapi_api import Api, client, refusal, silence
from worker.clients.vapi import Patience

AT_ONCE = Patience(probe_s=0.2)


async def busy(_request: web.Request) -> web.StreamResponse:
    return refusal(503, 7)


async def probe(api: Api) -> None:
    async with client(api.url, AT_ONCE) as vapi:
        await vapi.probe()


async def test_a_list_of_calls_is_an_answer(api: Api) -> None:
    api.probe_status = 200
    await probe(api)


@pytest.mark.parametrize("status", [400, 404])
async def test_what_a_call_may_be_answered_but_a_list_never_is_comes_from_a_wrong_base_url(
    api: Api, status: int
) -> None:
    api.probe_status = status
    with pytest.raises(ApiUnavailable, match=f"answers {status}.*AFTERCALL_VAPI_BASE_URL"):
        await probe(api)


@pytest.mark.parametrize("status", [204, 302, 401, 403, 429, 500, 503])
async def test_any_other_answer_is_none(api: Api, status: int) -> None:
    api.probe_status = status
    with pytest.raises(ApiUnavailable, match=str(status)):
        await probe(api)


async def test_silence_is_no_answer(api: Api) -> None:
    api.probe_play = silence
    with pytest.raises(ApiUnavailable, match="Vapi does not answer in time"):
        await probe(api)


async def test_a_refused_connection_is_no_answer(free_port: int) -> None:
    async with client(f"http://127.0.0.1:{free_port}") as vapi:
        with pytest.raises(ApiUnavailable, match="cannot be reached"):
            await vapi.probe()


async def test_an_outage_does_not_end_with_an_answer_of_somebody_else(api: Api) -> None:
    api.answers, api.probe_status = [refusal(503)], 404
    async with client(api.url) as vapi:
        with pytest.raises(ApiUnavailable, match="Vapi answers 503"):
            await vapi.fetch_call("1")
        assert vapi.breaker.is_open


async def test_the_wait_that_an_answer_asks_for_is_told(api: Api) -> None:
    api.probe_play = busy
    with pytest.raises(ApiUnavailable) as caught:
        await probe(api)
    assert caught.value.retry_after == 7
