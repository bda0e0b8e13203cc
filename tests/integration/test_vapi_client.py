"""Fetching calls over real HTTP: every answer that Vapi, or what stands before it, is known to give."""

import asyncio
import os
from pathlib import Path

import pytest
from aiohttp import web

from consumers.enrich import ApiUnavailable, CallNotFound, CallRefused, CallUnreadable
from tests.integration.vapi_api import CALL_ID, Api, client, fetch, json, refusal, silence
from worker.settings import Secret

NO_CERTIFICATE = b"<html><head><title>400 No required SSL certificate was sent</title></head></html>"
CLOUDFLARE = "<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"


async def test_a_call_comes_as_the_bytes_that_vapi_sent(api: Api) -> None:
    body = b'{"id": "\xc3\xa9 \\ud83d"}\n'

    assert await fetch(api, json(200, body)) == body
    [request] = api.requests
    assert (request.method, request.raw_path) == ("GET", f"/call/{CALL_ID}")
    assert request.headers["Authorization"] == "Bearer private-key"
    assert "aftercall" in request.headers["User-Agent"]


async def test_a_base_url_may_end_in_a_slash_and_have_a_path(api: Api) -> None:
    api.answers = [json(200)]
    async with client(f"{api.url}/proxy/") as vapi:
        await vapi.fetch_call("7")

    assert api.paths() == ["/proxy/call/7"]


@pytest.mark.parametrize(("status", "error"), [(404, CallNotFound), (400, CallRefused)])
async def test_a_trouble_of_the_calls_own_is_told_at_once(api: Api, status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        await fetch(api, refusal(status))
    assert len(api.requests) == 1


@pytest.mark.parametrize("page", [NO_CERTIFICATE, b'{"message":"No required TLS certificate was sent"}', b""])
async def test_a_proxy_that_refuses_every_request_is_no_trouble_of_the_calls(api: Api, page: bytes) -> None:
    api.probe_status = 400
    api.answers = [web.Response(status=400, body=page)]
    async with client(api.url) as vapi:
        with pytest.raises(ApiUnavailable, match=r"answers 400: check AFTERCALL_VAPI_BASE_URL and its certfile"):
            await vapi.fetch_call(CALL_ID)
        assert vapi.breaker.is_open


async def test_a_proxy_that_refuses_one_call_alone_stops_no_other(api: Api) -> None:
    api.probe_status = 200
    api.answers = [web.Response(status=400, body=NO_CERTIFICATE)]
    async with client(api.url) as vapi:
        with pytest.raises(CallUnreadable, match=r"answers 400.* for this call, though it answers others"):
            await vapi.fetch_call(CALL_ID)
        assert not vapi.breaker.is_open


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_told_at_once_and_never_shown(api: Api, status: int) -> None:
    with pytest.raises(ApiUnavailable, match=rf"refuses the key of account default \({status}\)") as caught:
        await fetch(api, refusal(status))
    assert len(api.requests) == 1
    assert "private-key" not in repr(caught.value)


@pytest.mark.parametrize("status", [302, 307, 418, 204])
async def test_an_answer_that_vapi_does_not_give_is_a_trouble_of_the_api(api: Api, status: int) -> None:
    with pytest.raises(ApiUnavailable, match=f"answers {status}.*AFTERCALL_VAPI_BASE_URL"):
        await fetch(api, refusal(status))
    assert len(api.requests) == 1


async def test_a_redirect_is_not_followed_so_the_key_goes_nowhere_else(api: Api) -> None:
    with pytest.raises(ApiUnavailable):
        await fetch(api, json(301, Location=f"{api.url.replace('127.0.0.1', 'localhost')}/elsewhere"), json(200))
    assert api.paths() == [f"/call/{CALL_ID}"]


async def test_a_page_of_cloudflares_counts_by_its_status_and_is_not_quoted(api: Api) -> None:
    page = web.Response(status=502, text=CLOUDFLARE, content_type="text/html")
    with pytest.raises(ApiUnavailable, match=r"^Vapi answers 502$"):
        await fetch(api, page)


async def test_a_refused_connection_is_a_trouble_of_the_api(free_port: int) -> None:
    async with client(f"http://127.0.0.1:{free_port}") as vapi:
        with pytest.raises(ApiUnavailable, match="cannot be reached"):
            await vapi.fetch_call(CALL_ID)


async def test_a_name_that_does_not_resolve_is_a_trouble_of_the_api() -> None:
    async with client("http://no-such-host.invalid") as vapi:
        with pytest.raises(ApiUnavailable, match="cannot be reached"):
            await vapi.fetch_call(CALL_ID)


async def test_what_is_no_http_is_a_trouble_of_the_api() -> None:
    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    async with await asyncio.start_server(chatter, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client(f"http://127.0.0.1:{port}") as vapi:
            with pytest.raises(ApiUnavailable, match="cannot be reached"):
                await vapi.fetch_call(CALL_ID)


async def test_connections_are_used_again(api: Api) -> None:
    api.answers = [json(200)]
    async with client(api.url) as vapi:
        for number in range(5):
            await vapi.fetch_call(str(number))

    assert len({request.transport for request in api.requests}) == 1


async def test_no_cookie_is_kept(api: Api) -> None:
    api.answers = [json(200, **{"Set-Cookie": "__cf_bm=1; Path=/"})]
    async with client(api.url) as vapi:
        await vapi.fetch_call("1")
        await vapi.fetch_call("2")

    assert all("Cookie" not in request.headers for request in api.requests)


async def test_a_key_in_a_file_that_is_replaced_is_used_from_then_on(api: Api, tmp_path: Path) -> None:
    api.answers = [json(200)]
    file = tmp_path / "key"
    file.write_text("old\n")
    async with client(api.url, vapi_api_key=Secret(path=str(file))) as vapi:
        await vapi.fetch_call("1")
        (tmp_path / "next").write_text("new\n")
        os.utime(tmp_path / "next", (1, 1))  # as far from the old one's time as can be
        (tmp_path / "next").replace(file)
        await vapi.fetch_call("2")

    assert [request.headers["Authorization"] for request in api.requests] == ["Bearer old", "Bearer new"]


async def test_a_key_that_no_header_can_carry_is_a_trouble_of_the_api(api: Api) -> None:
    with pytest.raises(ApiUnavailable, match="key of account default"):
        await fetch(api, json(200), vapi_api_key=Secret("two\nlines"))
    assert not api.requests


@pytest.mark.parametrize(
    ("call_id", "path"),
    [
        ("a/b", "a%2Fb"),
        ("../assistant", "..%2Fassistant"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("50%25", "50%2525"),
        ("a+b;c&d", "a%2Bb%3Bc%26d"),
        ("a\\b", "a%5Cb"),
        ("~tilde_-.", "~tilde_-."),
    ],
)
async def test_a_call_id_is_one_segment_of_the_path_whatever_is_in_it(api: Api, call_id: str, path: str) -> None:
    api.answers = [json(200)]
    async with client(api.url) as vapi:
        await vapi.fetch_call(call_id)

    assert api.paths() == [f"/call/{path}"]


async def test_a_fetch_that_is_cancelled_is_cancelled(api: Api) -> None:
    api.answers = [silence]
    async with client(api.url) as vapi:
        task = asyncio.create_task(vapi.fetch_call(CALL_ID))
        await asyncio.wait([task], timeout=0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
