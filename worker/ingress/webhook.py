"""The endpoint: 200 means that the notification is on disk, at the broker or in the spool.

Who may post at all, then size, then authentication by what the headers tell and over the raw bytes, then the type and
call id by a partial decode, then the bytes untouched to the broker, confirmed, or to the spool, then the answer.
"""

import asyncio
import os
import time
from http import HTTPStatus
from typing import Final

from aiohttp import web

from consumers.messages import (
    DEAD,
    END_OF_CALL_REPORT,
    GZIP_ABOVE_BYTES,
    OURS,
    WEBHOOK,
    Message,
    Unidentified,
    identify,
    pack,
)
from consumers.notifications import write_notification
from consumers.settling import note, story_of
from consumers.timestamps import iso
from worker.ingress.admission import authenticated, came_from
from worker.ingress.callers import WINDOW_S
from worker.ingress.endpoint import Endpoint, Refused
from worker.ingress.message_types import EXPECT_AN_ANSWER, KNOWN
from worker.ingress.spool.keeper import Accepted
from worker.ingress.spool.writer import SpoolFailed
from worker.operate.telemetry import DEAD_LETTERS, WEBHOOK_SECONDS, WEBHOOKS, logger

RETRY_AFTER_S: Final = 5
REASONS: Final = ("undecodable", "no-type", "no-call-id")
"""Why a body is parked: those of `Unidentified`."""


def application(endpoint: Endpoint) -> web.Application:
    """The public HTTP application."""
    app = web.Application(client_max_size=endpoint.max_body_bytes)

    async def handle(request: web.Request) -> web.Response:
        return await receive(request, endpoint)

    app.router.add_post("/webhooks/vapi", handle)
    app.router.add_post("/webhooks/vapi/{account}", handle)
    return app


async def receive(request: web.Request, endpoint: Endpoint) -> web.Response:
    """Answer one webhook, and count, time and log it."""
    began = time.perf_counter()
    account = request.match_info.get("account", "default")
    story = {"account": account if account in endpoint.checks else "other", "type": "none", "call_id": ""}
    try:
        event = await _accept(request, endpoint, account, story)
        answer = web.json_response({})
    except Refused as refused:
        event, answer = _refusal(refused, request, endpoint, story)
    finally:
        endpoint.connections.rest(request.transport)
    seconds = time.perf_counter() - began
    kind = story["type"] if story["type"] in KNOWN or story["type"] == "none" else "other"
    WEBHOOKS.labels(story["account"], kind, str(answer.status)).inc()
    WEBHOOK_SECONDS.observe(seconds)
    if event:
        logger().info(event, answer=answer.status, seconds=round(seconds, 4), **story)
    return answer


async def _accept(request: web.Request, endpoint: Endpoint, account: str, story: dict[str, str]) -> str:
    """Take the notification in; the event to log, or none. Raises `Refused`."""
    body = await authenticated(request, endpoint, account)
    received_at = endpoint.clock()
    try:
        identity = identify(body)
    except Unidentified as error:
        kept = await _keep(endpoint, *await _parked(error, body, account, received_at, notes=endpoint.notes))
        story |= {"reason": error.reason, "detail": error.detail[:300], "kept": kept}
        DEAD_LETTERS.labels(WEBHOOK, error.reason).inc()
        return "webhook.parked"
    story |= {"type": identity.type[:80], "call_id": identity.call_id[:128]}
    if identity.type != END_OF_CALL_REPORT:
        return _noted_elsewhere(identity.type)
    kept = await _keep(
        endpoint,
        write_notification(
            await _packed(body),
            account=account,
            call_id=identity.call_id,
            source="webhook",
            received_at=received_at,
            traceparent=_traceparent(request),
        ),
    )
    return "webhook.accepted" if kept == "published" else "webhook.spooled"


def _noted_elsewhere(type_: str) -> str:
    """Not for us: counted by type, and told of if somebody waits for an answer that we cannot give."""
    return "webhook.misdirected" if type_ in EXPECT_AN_ANSWER else ""


async def _packed(body: bytes) -> tuple[bytes, str | None]:
    """`body` as it travels; a large one is gzipped beside the loop, where it holds up nobody."""
    return pack(body) if len(body) <= GZIP_ABOVE_BYTES else await asyncio.to_thread(pack, body)


async def _parked(
    error: Unidentified, body: bytes, account: str, received_at: float, *, notes: bool
) -> tuple[Message, ...]:
    """A dead letter of the endpoint: authenticated bytes are never refused."""
    packed, encoding = await _packed(body)
    story = story_of(WEBHOOK, error.reason, error.detail, type(error).__name__, received_at)
    letter = Message(
        exchange=DEAD,
        routing_key=WEBHOOK,
        body=packed,
        type="webhook",
        headers=story
        | {
            f"{OURS}account": account,
            f"{OURS}source": "webhook",
            f"{OURS}received-at": iso(received_at),
            f"{OURS}attempt": 1,
            f"{OURS}first-attempt-at": iso(received_at),
        },
        content_encoding=encoding,
    )
    told = {f"{OURS}queue": WEBHOOK, f"{OURS}reason": error.reason, f"{OURS}detail": error.detail[:300]}
    return (letter, note("parked", account, "", received_at, told)) if notes else (letter,)


async def _keep(endpoint: Endpoint, *messages: Message) -> Accepted:
    """See messages onto a disk; whether any had to be spooled. Raises `Refused` if neither place takes one."""
    try:
        kept = [await endpoint.accept(message) for message in messages]
    except SpoolFailed as error:
        raise Refused(503, f"the broker is away, and {error}", retry_after_s=RETRY_AFTER_S) from error
    return "spooled" if "spooled" in kept else "published"


def _traceparent(request: web.Request) -> str:
    """The trace that the sender began, or a new one (W3C Trace Context)."""
    given = request.headers.get("traceparent", "")
    if len(given) == 55 and given.isascii():  # noqa: PLR2004  # its length in version 00
        return given
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"


def _refusal(
    refused: Refused, request: web.Request, endpoint: Endpoint, story: dict[str, str]
) -> tuple[str, web.Response]:
    """What to log, if anything, and the answer. Whom we turn away too often we turn away without a word in the log.

    Nothing is refused that would not be otherwise: a report that carries its credentials is never one too many.
    """
    if refused.status != HTTPStatus.SERVICE_UNAVAILABLE:
        story["caller"] = endpoint.callers.name_of(*came_from(request))
        beyond = endpoint.refusals.add(endpoint.clock(), story["caller"], f"account {story['account']}")
        if beyond:
            told = f"more than {endpoint.refusals.most} refusals within a minute"
            refused = Refused(429, told, retry_after_s=WINDOW_S, closes=True)
        if beyond > 1:
            return "", _answer(refused)
    story["detail"] = refused.why
    return "webhook.refused", _answer(refused)


def _answer(refused: Refused) -> web.Response:
    answer = web.json_response({"error": refused.why}, status=refused.status, headers=refused.headers)
    if refused.closes:
        answer.force_close()
    return answer
