"""Asking Vapi about an account rather than a call: whether it takes the key, and who is set to post to us."""

import time
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from consumers.tolerant_json import NotJson, parse
from worker.settings import Account

ASK_S: Final = 6.0
BODY_MAX_BYTES: Final = 2**26


class Answer(msgspec.Struct, frozen=True):
    """One answer: its status (0 if there was none, and `trouble` says why), its JSON, and our clock minus Vapi's."""

    status: int
    body: Any = None
    trouble: str = ""
    skew_s: float | None = None


def call_path(call_id: str) -> str:
    """The path of a call; an id of dots alone would else be resolved as a path."""
    return f"/call/{quote(call_id, safe='').replace('.', '%2E')}"


async def ask(account: Account, http: aiohttp.ClientSession, path: str) -> Answer:
    """GET a path of the account's API, once. Raises nothing of the network's."""
    key = account.vapi_api_key.reveal()
    url = URL(account.vapi_base_url.rstrip("/") + path, encoded=True)
    return await ask_url(http, url, {"Authorization": f"Bearer {key}"})


async def ask_url(http: aiohttp.ClientSession, url: URL, headers: dict[str, str] | None = None) -> Answer:
    """GET a URL, once, without following redirects. Raises nothing of the network's."""
    began = time.time()
    timeout = aiohttp.ClientTimeout(total=ASK_S)
    try:
        async with http.get(url, headers=headers, allow_redirects=False, timeout=timeout) as answer:
            skew_s = _skew_s(answer.headers.get("Date", ""), (began + time.time()) / 2)
            return Answer(answer.status, _json(await answer.content.read(BODY_MAX_BYTES)), skew_s=skew_s)
    except TimeoutError:
        return Answer(0, trouble=f"{url.host} does not answer within {ASK_S:g} s")
    except (aiohttp.ClientError, ValueError) as error:
        return Answer(0, trouble=f"{url.host} cannot be reached: {error or type(error).__name__}")


def _json(body: bytes) -> Any:
    try:
        return parse(body)
    except NotJson:
        return None


def _skew_s(date: str, now: float) -> float | None:
    """Our clock minus the one of a `Date` header, which has whole seconds and is cut off; None if there is none."""
    try:
        return now - (parsedate_to_datetime(date).timestamp() + 0.5)
    except (TypeError, ValueError):
        return None
