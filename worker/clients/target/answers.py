"""What a target answered, or why it did not, in words that tell no secret."""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import aiohttp

from consumers.forward import AGAIN, TAKEN, Answer
from consumers.targets import Target
from consumers.tolerant_json import NotJson, dump, parse
from worker.clients.target.guard import PrivateAddress
from worker.clients.vapi_http import asked_wait_s
from worker.operate.words import why_no_tls

READ_MAX_BYTES: Final = 65536
SECRET_MIN: Final = 6
"""A shorter word of a header is no secret, and to take it out of an answer would only garble it."""
TOLD_MAX_BYTES: Final = 600
"""Of an answer, more than is quoted of it: each text in it is looked for in the call."""
TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)+(?:"|\\?\Z)', re.DOTALL)
CUT: Final = '"…"'.encode()


async def read_answer(
    response: aiohttp.ClientResponse, target: Target, secrets: Iterable[str], posted: bytes
) -> Answer:
    """The answer of a target, without the `secrets` it was told and the call: some quote what they were sent."""
    took_it = response.status in TAKEN
    if took_it and not target.success_path:
        return Answer(status=response.status)  # whatever it says, and even if it never says it whole
    body = await _beginning(response)
    return Answer(
        status=response.status,
        body=_without_call(posted, _without(secrets, body)[:TOLD_MAX_BYTES]),
        retry_after_s=asked_wait_s(response) if response.status in AGAIN else None,
        says_ok=took_it and target.says_ok(body),
    )


def why_not(error: aiohttp.ClientError | OSError) -> str:
    """Why a post came to nothing, without the URL, which may itself be a secret."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, PrivateAddress):
        return f"is not posted to: {error.strerror}"
    told = why_no_tls(error) or (error.strerror if isinstance(error, OSError) else "")
    return f"cannot be reached: {told or type(error).__name__}"


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """As much of the body as comes; the status stands, even if the rest never does."""
    body = bytearray()
    with suppress(aiohttp.ClientError, TimeoutError):
        while len(body) < READ_MAX_BYTES and (chunk := await response.content.read(READ_MAX_BYTES - len(body))):
            body += chunk
    return bytes(body)


def _without(secrets: Iterable[str], body: bytes) -> bytes:
    for word in (word for secret in secrets for word in secret.split() if len(word) >= SECRET_MIN):
        body = body.replace(word.encode(), b"********")
    return body


def _without_call(posted: bytes, body: bytes) -> bytes:
    """An answer in JSON without the texts of the call: validators such as FastAPI's repeat what they refuse."""
    return TEXT.sub(lambda text: CUT if b":" + _as_ours(text[0]) in posted else text[0], body)


def _as_ours(text: bytes) -> bytes:
    """A text as our JSON writes it, or as it stands where it is cut off."""
    try:
        return dump(parse(text))
    except NotJson:
        return text
