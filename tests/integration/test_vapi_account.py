"""What `explain` and `doctor` ask of Vapi, over real HTTP."""

from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from tests.integration.vapi_api import Api, Play, account, cut_off, json
from worker.clients import vapi_account
from worker.clients.vapi_account import Answer, ask

PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head></html>"


async def asked(api: Api, answer: web.Response | Play) -> Answer:
    api.answers = [answer]
    async with aiohttp.ClientSession() as http:
        return await ask(account(api.url), http, "/call/7")


def in_pieces(body: bytes) -> Play:
    """The body as it comes over a wire: in many pieces."""

    async def play(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(0, len(body), 65536):
            await response.write(body[at : at + 65536])
        return response

    return play


async def test_a_call_of_megabytes_is_read_to_its_end(api: Api) -> None:
    call: dict[str, Any] = {"id": "7", "artifact": {"transcript": "x" * 3_000_000}}

    answer = await asked(api, in_pieces(orjson.dumps(call)))

    assert (answer.status, answer.body, answer.trouble) == (200, call, "")


@pytest.mark.parametrize("body", [PAGE, b"", b'{"id": "7", "status": "en'])
async def test_what_is_no_json_is_said_to_be_none(api: Api, body: bytes) -> None:
    answer = await asked(api, json(200, body))

    assert (answer.status, answer.trouble) == (
        0,
        "127.0.0.1 answers 200 with what is no JSON, as a web page would be",
    )


async def test_a_body_that_is_cut_off_is_said_to_be(api: Api) -> None:
    answer = await asked(api, cut_off)

    assert (answer.status, answer.trouble) == (0, "127.0.0.1 answers, but its answer was cut off")


async def test_a_body_that_is_too_large_is_said_to_be(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vapi_account, "BODY_MAX_BYTES", 10)

    answer = await asked(api, json(200, b'{"id": "1234567"}'))

    assert (answer.status, answer.trouble) == (0, "Vapi's answer is larger than 10 bytes")


async def test_a_refusal_counts_by_its_status_whatever_its_page_says(api: Api) -> None:
    answer = await asked(api, json(502, PAGE))

    assert (answer.status, answer.body, answer.trouble) == (502, None, "")
