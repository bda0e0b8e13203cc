"""Who may post what: the body of a request that is from Vapi, or why there is none."""

import asyncio
from contextlib import nullcontext
from typing import Final

from aiohttp import hdrs, web

from worker.ingress.endpoint import Endpoint, Refused
from worker.ingress.signature import Check, Request

LARGE_BYTES: Final = 2**20
"""A body larger than that, or of a size not told, is large."""


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
