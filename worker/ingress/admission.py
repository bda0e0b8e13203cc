"""Who may post what: the body of a request that is from Vapi, or why there is none."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Final

import msgspec
from aiohttp import hdrs, web

from consumers.messages import Message
from worker.ingress.callers import Callers, Refusals
from worker.ingress.connections import Connections
from worker.ingress.signature import Check, Request
from worker.ingress.spool.keeper import Accepted

BODY_S: Final = 10.0
LARGE_BYTES: Final = 2**20
LARGE_AT_A_TIME: Final = 8
"""Bodies larger than that, or of a size not told, that are read before it is known whether they are signed."""
Accept = Callable[[Message], Awaitable[Accepted]]


class Endpoint(msgspec.Struct, frozen=True):
    """What the endpoint needs: a check for each account it serves, what sees messages onto a disk, and so on."""

    checks: dict[str, Check]
    accept: Accept
    max_body_bytes: int
    notes: bool
    clock: Callable[[], float] = time.time
    body_s: float = BODY_S
    callers: Callers = Callers()
    refusals: Refusals = msgspec.field(default_factory=Refusals)
    connections: Connections = msgspec.field(default_factory=Connections)
    room: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(LARGE_AT_A_TIME))


class Refused(Exception):
    """An answer that accepts nothing: the status, why, when to come again, and whether the connection ends with it."""

    def __init__(self, status: int, why: str, *, retry_after_s: int = 0, closes: bool = False) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.headers = {hdrs.RETRY_AFTER: str(retry_after_s)} if retry_after_s else {}
        self.closes = closes


async def authenticated(request: web.Request, endpoint: Endpoint, account: str) -> bytes:
    """The body of a request that is from Vapi. Raises `Refused`."""
    if endpoint.callers.allowed and not endpoint.callers.may_post(*came_from(request)):
        raise Refused(403, "its address is not among AFTERCALL_WEBHOOK_ALLOW", closes=True)
    check = endpoint.checks.get(account)
    if check is None:
        raise Refused(404, "no such account is served here")
    if any(coding != "identity" for coding in request.headers.getall(hdrs.CONTENT_ENCODING, ())):
        raise Refused(415, "Content-Encoding is not taken: send the body as it is")
    if (request.content_length or 0) > endpoint.max_body_bytes:
        raise _too_large(endpoint)
    if not check.head(request.headers):
        raise Refused(401, "wrong or no credentials")
    if check.whole is None:
        endpoint.connections.serve(request.transport)
    body = await _read(request, endpoint, check)
    endpoint.connections.serve(request.transport)
    return body


async def _read(request: web.Request, endpoint: Endpoint, check: Check) -> bytes:
    """The body, if the check passes it. Large ones not known to be signed take turns, not to fill the memory."""
    is_large = (request.content_length or endpoint.max_body_bytes) > LARGE_BYTES
    room = endpoint.room if check.whole and is_large else nullcontext()
    try:
        async with asyncio.timeout(endpoint.body_s), room:
            body = await request.read()
            if check.whole and not check.whole(_signed_part(request, body)):
                raise Refused(401, "wrong or no credentials")
    except TimeoutError as error:
        raise Refused(408, f"the body took longer than {endpoint.body_s:g} s", closes=True) from error
    except ConnectionError as error:
        # Nobody hears it: the status is nginx's for this, so that it is counted and logged like any other answer.
        raise Refused(499, "the client broke off amid the body") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(endpoint) from error
    return body


def _too_large(endpoint: Endpoint) -> Refused:
    return Refused(413, f"larger than {endpoint.max_body_bytes} bytes (AFTERCALL_WEBHOOK_MAX_BODY_BYTES)", closes=True)


def came_from(request: web.Request) -> tuple[str, str]:
    """The other end of the connection, and what proxies say of whom they heard."""
    return request.remote or "", ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ()))


def _signed_part(request: web.Request, body: bytes) -> Request:
    host, path = request.headers.get(hdrs.HOST, ""), request.raw_path
    return Request(request.method, (f"https://{host}{path}", f"http://{host}{path}", path), request.headers, body)
