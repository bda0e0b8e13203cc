"""`GET /call/{id}`, `GET /call` and who posts: what Vapi's clients ask, with the troubles of the day."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
import orjson
from aiohttp import web

from worker.simulate.account import Account, EndedCall
from worker.simulate.api.answers import FetchAnswer, answer_fetch, refuse
from worker.simulate.api.documents import Documents
from worker.simulate.api.listing import parse_listing
from worker.simulate.api.sender import Sender

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PIECES = 8
_CALLS_AT_A_STRETCH = 20


class Trouble(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ails the whole API: it closes connections or answers 503, refuses every key, or is slow to answer."""

    down: Literal["", "closed", "503"] = ""
    refuse_key: bool = False
    latency_s: float = 0.0


class Api:
    """Answers the clients of one account; `trouble` and `sender` may be changed at any time."""

    def __init__(
        self, account: Account, documents: Documents, *, api_key: str, retry_after_s: int, clock: Callable[[], float]
    ) -> None:
        self.trouble = Trouble()
        self.sender = Sender()
        self._account = account
        self._documents = documents
        self._bearer = f"Bearer {api_key}"
        self._retry_after_s = retry_after_s
        self._clock = clock

    def add_routes(self, application: web.Application) -> None:
        """Serve the API in this application."""
        application.router.add_get("/call", self._in_trouble(self._list_calls))
        application.router.add_get("/call/{id}", self._in_trouble(self._fetch_call))
        application.router.add_get("/assistant", self._in_trouble(self._list_assistants))
        application.router.add_get("/phone-number", self._in_trouble(self._list_phone_numbers))
        application.router.add_get("/org", self._in_trouble(self._tell_org))

    def _in_trouble(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if self.trouble.latency_s:
                await asyncio.sleep(self.trouble.latency_s)
            if self.trouble.down == "closed":
                return _hang_up(request)
            response = self._refusal(request) or await handler(request)
            self._account.answers[response.status] += 1
            return response

        return handle

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.trouble.down:
            return refuse(503)
        if self.trouble.refuse_key or request.headers.get("Authorization") != self._bearer:
            return refuse(401)
        return None

    async def _fetch_call(self, request: web.Request) -> web.StreamResponse:
        call_id = request.match_info["id"]
        if not _UUID.fullmatch(call_id):
            return refuse(400, ["id must be a UUID"])
        ended = self._account.calls.get(call_id.lower())
        if ended is None:
            return refuse(404)
        return await self._answer(request, ended)

    async def _answer(self, request: web.Request, ended: EndedCall) -> web.StreamResponse:
        now = self._clock()
        answer = answer_fetch(ended, now)
        ended.fetches[answer.status] += 1
        ended.served += answer.status != web.HTTPNotFound.status_code
        if answer.status != web.HTTPOk.status_code:
            retry_after_s = self._retry_after_s if answer.status == web.HTTPTooManyRequests.status_code else None
            return refuse(answer.status, retry_after_s=retry_after_s)
        return await _deliver(request, self._documents.serve(ended, now), answer)

    async def _list_calls(self, request: web.Request) -> web.StreamResponse:
        try:
            listing = parse_listing(request.query)
        except ValueError as error:
            return refuse(400, [str(error)])
        now = self._clock()
        candidates = self._account.updated_between(*listing.updated_between, now)
        bodies = []
        for nth, ended in enumerate(listing.choose(candidates, now), 1):
            bodies.append(self._documents.serve(ended, now))
            if nth % _CALLS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)
        return _json(b"[" + b",".join(bodies) + b"]")

    async def _list_assistants(self, _request: web.Request) -> web.StreamResponse:
        return _json(orjson.dumps(self.sender.assistants))

    async def _list_phone_numbers(self, _request: web.Request) -> web.StreamResponse:
        return _json(orjson.dumps(self.sender.phone_numbers))

    async def _tell_org(self, _request: web.Request) -> web.StreamResponse:
        return refuse(403, "Forbidden resource") if self.sender.org is None else _json(orjson.dumps(self.sender.org))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")


async def _deliver(request: web.Request, body: bytes, answer: FetchAnswer) -> web.StreamResponse:
    if answer.is_truncated:
        return await _deliver_half(request, body)
    if answer.slow_s:
        return await _deliver_slowly(request, body, answer.slow_s)
    return _json(body)


async def _deliver_half(request: web.Request, body: bytes) -> web.StreamResponse:
    response = await _begin(request, len(body))
    await response.write(body[: len(body) // 2])
    response.force_close()
    if request.transport is not None:
        request.transport.close()
    return response


async def _deliver_slowly(request: web.Request, body: bytes, slow_s: float) -> web.StreamResponse:
    response = await _begin(request, len(body))
    step = len(body) // _PIECES + 1
    for at in range(0, len(body), step):
        await asyncio.sleep(slow_s / _PIECES)
        await response.write(body[at : at + step])
    return response


async def _begin(request: web.Request, length: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    response.content_length = length
    await response.prepare(request)
    return response


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
