"""What a target answered, or why it did not, in words that tell no secret."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import aiohttp

from consumers.forward import AGAIN, TAKEN, Answer
from consumers.targets import Target
from worker.clients.target.guard import PrivateAddress
from worker.clients.vapi_http import asked_wait_s

READ_MAX_BYTES: Final = 65536
SECRET_MIN: Final = 6
"""A shorter word of a header is no secret, and to take it out of an answer would only garble it."""


async def read_answer(response: aiohttp.ClientResponse, target: Target, headers: Iterable[str]) -> Answer:
    """The answer of a target, without what `headers` told it: some quote what they were sent."""
    took_it = response.status in TAKEN
    if took_it and not target.success_path:
        return Answer(status=response.status)  # whatever it says, and even if it never says it whole
    body = await _beginning(response)
    return Answer(
        status=response.status,
        body=_without(headers, body),
        retry_after_s=asked_wait_s(response) if response.status in AGAIN else None,
        says_ok=took_it and target.says_ok(body),
    )


def why_not(error: aiohttp.ClientError | OSError) -> str:
    """Why a post came to nothing, without the URL, which may itself be a secret."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, PrivateAddress):
        return f"is not posted to: {error.strerror}"
    told = error.strerror if isinstance(error, OSError) else ""
    return f"cannot be reached: {told or type(error).__name__}"


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """As much of the body as comes; the status stands, even if the rest never does."""
    body = bytearray()
    with suppress(aiohttp.ClientError, TimeoutError):
        while len(body) < READ_MAX_BYTES and (chunk := await response.content.read(READ_MAX_BYTES - len(body))):
            body += chunk
    return bytes(body)


def _without(headers: Iterable[str], body: bytes) -> bytes:
    for word in (word for value in headers for word in value.split() if len(word) >= SECRET_MIN):
        body = body.replace(word.encode(), b"********")
    return body
