"""What every request to Vapi needs: the path of a call, the body of an answer, and how long it asks us to wait."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

import aiohttp

from consumers.enrich import CallUnreadable

RETRY_AFTER_MAX_S: Final = 3600.0


def call_path(call_id: str) -> str:
    """The path of a call, whatever is in its id; aiohttp would resolve one of dots alone as a path."""
    segment = quote(call_id, safe="") if call_id.strip(".") else call_id.replace(".", "%2E")
    return f"/call/{segment}"


async def read_body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The whole body, unpacked. Raises `CallUnreadable` for one that is larger than `max_bytes`.

    What it says of its length is the packed one's, so it is measured while it comes.
    """
    chunks, room = [], max_bytes
    async for chunk in answer.content.iter_any():
        chunks.append(chunk)
        room -= len(chunk)
        if room < 0:
            raise CallUnreadable(f"Vapi's answer is larger than {max_bytes} bytes")
    return b"".join(chunks)


def asked_wait_s(answer: aiohttp.ClientResponse) -> float | None:
    """The seconds that the answer asks us to wait, if it does."""
    return retry_after_s(answer.headers.get("Retry-After", ""))


def retry_after_s(value: str) -> float | None:
    """The seconds a `Retry-After` header asks for, as a number or as a date (RFC 9110); None if it makes no sense.

    At most an hour: one odd answer must not hold the whole account until a restart.
    """
    if value.strip().isdecimal():
        return min(float(value), RETRY_AFTER_MAX_S)
    try:
        until = parsedate_to_datetime(value)
        asked_s = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        return min(max(0.0, asked_s), RETRY_AFTER_MAX_S)
    except (ValueError, TypeError, OverflowError):
        return None
