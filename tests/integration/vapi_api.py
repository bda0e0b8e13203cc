"""An API that answers as the tests tell it to, and a client of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from worker.clients.vapi import Patience, VapiClient, vapi_session
from worker.settings import Account, HmacPlan, Secret

CALL_ID = "01a058c7-4c94-7cd1-8155-66af75f0734c"
HURRIED = Patience(budget_s=2, tries_max=3, backoff_s=0.01)
BRIEF = aiohttp.ClientTimeout(total=1, sock_connect=0.5, sock_read=0.3)

Play = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Api:
    """An API that answers as it is told to, one answer after the other and the last for ever; it keeps the requests.

    The probe, which asks for no call in particular, it answers apart and does not keep.
    """

    url: str = ""
    probe_status: int = 503
    probe_play: Play | None = None
    answers: list[web.Response | Play] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/call":
            return await self.probe_play(request) if self.probe_play else json(self.probe_status, b"[]")
        self.requests.append(request)
        self.asked_at.append(time.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        return await answer(request)

    def paths(self) -> list[str]:
        return [request.raw_path for request in self.requests]


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
    return json(
        status,
        b'{"message":"no","statusCode":%d}' % status,
        **({} if retry_after is None else {"Retry-After": str(retry_after)}),
    )


async def cut_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"id":')
    assert request.transport is not None
    request.transport.close()
    return response


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


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(b" " * 65536)
    return response
