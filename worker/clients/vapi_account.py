"""Asking Vapi about an account rather than a call: whether it takes the key, and who is set to post to us."""

import time
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from consumers.enrich import CallUnreadable
from consumers.tolerant_json import NotJson, parse
from worker.clients.tls import TlsFileUnusable, followed_context
from worker.clients.vapi_http import read_body
from worker.operate.words import in_words
from worker.settings import Account
from worker.settings.tls import NO_FILES, TlsFiles, tls_files_of

ASK_S: Final = 6.0
BODY_MAX_BYTES: Final = 2**26


class Answer(msgspec.Struct, frozen=True):
    """One answer: its status, its JSON, and our clock minus Vapi's; 0 if none could be read, and `trouble` says why."""

    status: int
    body: Any = None
    trouble: str = ""
    skew_s: float | None = None


async def ask(account: Account, http: aiohttp.ClientSession, path: str) -> Answer:
    """GET a path of the account's API, once. Raises nothing of the network's."""
    key = account.vapi_api_key.reveal()
    url = URL(account.vapi_root + path, encoded=True)
    return await ask_url(http, url, {"Authorization": f"Bearer {key}"}, tls_files_of(account.vapi_base_url))


async def ask_url(
    http: aiohttp.ClientSession, url: URL, headers: dict[str, str] | None = None, tls: TlsFiles = NO_FILES
) -> Answer:
    """GET a URL, once, without following redirects. Raises nothing of the network's."""
    began = time.time()
    given: Any = {"headers": headers, "allow_redirects": False, "timeout": aiohttp.ClientTimeout(total=ASK_S)}
    try:
        async with http.get(url, ssl=followed_context(tls), **given) as answer:
            skew_s = _skew_s(answer.headers.get("Date", ""), (began + time.time()) / 2)
            return _read(answer.status, await read_body(answer, BODY_MAX_BYTES), str(url.host), skew_s)
    except TimeoutError:
        return Answer(0, trouble=f"{url.host} does not answer within {ASK_S:g} s")
    except aiohttp.ClientPayloadError:
        return Answer(0, trouble=f"{url.host} answers, but its answer was cut off")
    except CallUnreadable as error:
        return Answer(0, trouble=str(error))
    except (aiohttp.ClientError, TlsFileUnusable, ValueError) as error:
        return Answer(0, trouble=f"{url.host} cannot be reached: {in_words(error)}")


def _read(status: int, body: bytes, host: str, skew_s: float | None) -> Answer:
    """An answer with its JSON; only a refusal may be without, as a page of a proxy's is."""
    try:
        return Answer(status, parse(body), skew_s=skew_s)
    except NotJson:
        if status != 200:  # noqa: PLR2004
            return Answer(status, skew_s=skew_s)
        return Answer(0, trouble=f"{host} answers 200 with what is no JSON, as a web page would be", skew_s=skew_s)


def _skew_s(date: str, now: float) -> float | None:
    """Our clock minus the one of a `Date` header, which has whole seconds and is cut off; None if there is none."""
    try:
        return now - (parsedate_to_datetime(date).timestamp() + 0.5)
    except (TypeError, ValueError):
        return None
