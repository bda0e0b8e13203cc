"""Fetching calls over real HTTP: every answer that Vapi, or what stands before it, is known to give."""

import asyncio
import gzip
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from consumers.enrich import ApiUnavailable, CallNotFound, CallRefused, CallUnreadable
from worker.clients.vapi import Patience, VapiClient, retry_after_s, vapi_session
from worker.settings import Account, HmacPlan, Secret

CALL_ID = "01a058c7-4c94-7cd1-8155-66af75f0734c"
HURRIED = Patience(budget_s=2, tries_max=3, backoff_s=0.01)
BRIEF = aiohttp.ClientTimeout(total=1, sock_connect=0.5, sock_read=0.3)
CLOUDFLARE = "<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"

Play = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Api:
    """An API that answers as it is told to, one answer after the other and the last for ever; it keeps the requests.

    What asks for no call in particular, but whether there is an API at all, it answers apart and does not keep.
    """

    url: str = ""
    probe_status: int = 503
    answers: list[web.Response | Play] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/call":
            return json(self.probe_status, b"[]")
        self.requests.append(request)
        self.asked_at.append(time.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        return await answer(request)

    def paths(self) -> list[str]:
        return [request.raw_path for request in self.requests]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield api
    await runner.cleanup()


def account(url: str, **changes: Any) -> Account:
    defaults: dict[str, Any] = {
        "name": "default",
        "vapi_api_key": Secret("private-key"),
        "vapi_base_url": url,
        "vapi_rate": 1000.0,
        "webhook_secrets": Secret("s"),
        "webhook_auth": "bearer",
        "hmac": HmacPlan(),
    }
    return Account(**defaults | changes)


@asynccontextmanager
async def client(
    url: str, patience: Patience = HURRIED, limits: aiohttp.ClientTimeout = BRIEF, **changes: Any
) -> AsyncIterator[VapiClient]:
    async with vapi_session(8, limits) as http:
        yield VapiClient(account(url, **changes), http, patience=patience)


async def fetch(api: Api, *answers: web.Response | Play, **changes: Any) -> bytes:
    api.answers = list(answers)
    async with client(api.url, **changes) as vapi:
        return await vapi.fetch_call(CALL_ID)


def json(status: int, body: bytes = b"{}", **headers: str) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json", **headers})


def refusal(status: int, retry_after: object = None) -> web.Response:
    return json(status, b'{"message":"no"}', **({} if retry_after is None else {"Retry-After": str(retry_after)}))


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


async def test_a_compressed_answer_is_unpacked(api: Api) -> None:
    packed = json(200, gzip.compress(b'{"id": 1}'), **{"Content-Encoding": "gzip"})

    assert await fetch(api, packed) == b'{"id": 1}'


@pytest.mark.parametrize(("status", "error"), [(404, CallNotFound), (400, CallRefused)])
async def test_a_trouble_of_the_calls_own_is_told_at_once(api: Api, status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        await fetch(api, refusal(status))
    assert len(api.requests) == 1


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


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 521, 524])
async def test_what_may_pass_is_tried_again(api: Api, status: int) -> None:
    assert await fetch(api, refusal(status), refusal(status), json(200, b"call")) == b"call"
    assert len(api.requests) == 3


async def test_what_does_not_pass_within_the_tries_is_a_trouble_of_the_api(api: Api) -> None:
    with pytest.raises(ApiUnavailable, match="Vapi answers 500"):
        await fetch(api, refusal(500))
    assert len(api.requests) == 3


async def test_what_one_call_meets_again_and_again_while_the_api_answers_others_is_its_own_trouble(api: Api) -> None:
    api.probe_status = 200
    with pytest.raises(CallUnreadable, match="Vapi answers 500"):
        await fetch(api, refusal(500))


async def test_a_page_of_cloudflares_counts_by_its_status_and_is_not_quoted(api: Api) -> None:
    page = web.Response(status=502, text=CLOUDFLARE, content_type="text/html")
    with pytest.raises(ApiUnavailable, match=r"^Vapi answers 502$"):
        await fetch(api, page)


async def test_a_rate_limit_is_obeyed_for_the_seconds_it_asks_for(api: Api) -> None:
    assert await fetch(api, refusal(429, 1), json(200, b"call")) == b"call"
    assert 1 <= api.asked_at[1] - api.asked_at[0] < 1.5


async def test_a_rate_limit_is_obeyed_until_the_date_it_names(api: Api) -> None:
    until = datetime.now(UTC) + timedelta(seconds=2)
    assert await fetch(api, refusal(429, format_datetime(until, usegmt=True)), json(200, b"call")) == b"call"
    assert 0.9 <= api.asked_at[1] - api.asked_at[0] < 2.5  # a date has no fractions of a second


async def test_a_rate_limit_beyond_the_budget_is_told_at_once_with_its_wait(api: Api) -> None:
    began = time.monotonic()
    with pytest.raises(ApiUnavailable, match="429") as caught:
        await fetch(api, refusal(429, 3600))
    assert caught.value.retry_after == 3600
    assert time.monotonic() - began < 0.5
    assert len(api.requests) == 1


async def test_a_rate_limit_holds_every_fetch_of_the_account(api: Api) -> None:
    api.answers = [refusal(429, 3600), json(200)]
    async with client(api.url) as vapi:
        with pytest.raises(ApiUnavailable):
            await vapi.fetch_call("1")
        with pytest.raises(ApiUnavailable):
            await vapi.fetch_call("2")
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "soon",
        "-1",
        "1.5.1",
        "²",
        "\u0661",
        "9" * 400,
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 32 Jan",
    ],
)
async def test_a_wait_that_makes_no_sense_is_no_obstacle(api: Api, nonsense: str) -> None:
    value = retry_after_s(nonsense)
    assert value is None or value >= 0

    if value is None:
        assert await fetch(api, refusal(503, nonsense), json(200, b"call")) == b"call"


@pytest.mark.parametrize("asked", ["9" * 400, "86400", "Fri, 31 Dec 2100 23:59:59 GMT"])
async def test_no_answer_holds_an_account_for_more_than_an_hour(asked: str) -> None:
    assert retry_after_s(asked) == 3600


async def test_a_date_that_is_over_asks_for_no_wait() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0


async def cut_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"id":')
    assert request.transport is not None
    request.transport.close()
    return response


async def test_a_body_that_is_cut_off_is_tried_again(api: Api) -> None:
    assert await fetch(api, cut_off, json(200, b"call")) == b"call"


async def test_a_body_that_is_always_cut_off_is_the_calls_own_trouble(api: Api) -> None:
    with pytest.raises(CallUnreadable, match="cut off"):
        await fetch(api, cut_off)
    assert len(api.requests) == 3


async def test_a_body_that_is_not_compressed_as_it_says_is_the_calls_own_trouble(api: Api) -> None:
    with pytest.raises(CallUnreadable):
        await fetch(api, json(200, b"no gzip", **{"Content-Encoding": "gzip"}))


async def drip(request: web.Request) -> web.StreamResponse:
    """A body that never ends though its bytes keep coming."""
    response = web.StreamResponse()
    await response.prepare(request)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


async def silence(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize("slow", [drip, silence])
async def test_an_answer_that_takes_too_long_is_a_trouble_of_the_api(api: Api, slow: Play) -> None:
    patience = Patience(budget_s=2, tries_max=2, backoff_s=0.01)
    began = time.monotonic()
    with pytest.raises(ApiUnavailable, match="does not answer in time"):
        await fetch(api, slow, patience=patience, limits=aiohttp.ClientTimeout(total=0.4, sock_read=0.3))
    assert len(api.requests) == 2
    assert time.monotonic() - began < 2


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


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(b" " * 65536)
    return response


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


async def test_requests_keep_to_the_rate(api: Api) -> None:
    api.answers = [json(200)]
    async with client(api.url, vapi_rate=20.0) as vapi:
        await asyncio.gather(*(vapi.fetch_call(str(number)) for number in range(11)))

    assert api.asked_at[-1] - api.asked_at[0] > 0.45  # ten waits of 50 ms
    waits = [later - earlier for earlier, later in zip(api.asked_at, api.asked_at[1:], strict=False)]
    assert sorted(waits)[5] > 0.03


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
