"""Vapi's API: fetching a call, with tries for the seconds; what takes longer is the tiers' matter."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)
from tenacity.wait import wait_base
from yarl import URL

from consumers.enrich import ApiUnavailable, CallNotFound, CallRefused, CallUnreadable
from consumers.sweep import Slice
from consumers.timestamps import iso
from consumers.tolerant_json import NotJson, parse
from worker.clients.breaker import Breaker
from worker.clients.rate import Rate, RateExceeded
from worker.operate.telemetry import VAPI_REQUEST_SECONDS, VAPI_REQUESTS
from worker.settings import Account

TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5, sock_connect=3, sock_read=10)
ANSWERS: Final = frozenset({200, 400, 404})
"""What the API says while it works, whatever it thinks of the request."""
RETRY_AFTER_MAX_S: Final = 3600.0
LATE_TURN_S: Final = 5.0
"""How long past the budget a try may wait for its turn: it has waited out a `Retry-After` to get there."""
TRANSIENT: Final = frozenset({408, 425, 429, *range(500, 600)})
# Cloudflare stands before the API and blocks unusual clients.
USER_AGENT: Final = "aftercall (+https://github.com/aftercall/aftercall)"


class Patience(msgspec.Struct, frozen=True):
    """How long one fetch may take, and how large an answer may be once it is unpacked.

    No try begins later than `budget_s`; between tries are up to `backoff_s`, doubled each time, and what Vapi asks for.
    """

    budget_s: float = 20.0
    tries_max: int = 5
    backoff_s: float = 0.5
    turn_wait_max_s: float = 20.0
    body_max_bytes: int = 2**27


PATIENCE: Final = Patience()


class _Passing(Exception):
    """A failure that another try may not meet; `as_outcome` is what it counts as when none helped."""

    def __init__(self, as_outcome: Exception, retry_after_s: float | None = None) -> None:
        super().__init__(str(as_outcome))
        self.as_outcome = as_outcome
        self.retry_after_s = retry_after_s


def vapi_session(concurrency: int, timeout: aiohttp.ClientTimeout = TIMEOUT) -> aiohttp.ClientSession:
    """The HTTP client for one account: as many connections as deliveries in hand, no cookies, no redirects kept."""
    # aiohttp would stop at 100 connections by default, whatever the prefetch is.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=concurrency, limit_per_host=concurrency),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        timeout=timeout,
    )


class VapiClient:
    """The API of one account, at the account's rate."""

    def __init__(
        self,
        account: Account,
        http: aiohttp.ClientSession,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience = PATIENCE,
    ) -> None:
        self._account = account
        self._http = http
        self._patience = patience
        self._clock = clock
        self._rate = Rate(account.vapi_rate, clock=clock)
        self.breaker = Breaker(account.name, self.probe)

    async def fetch_call(self, call_id: str) -> bytes:
        """The body of `GET /call/<id>`; a `FetchCall`, and raises as one does.

        A refused key, an API that is down, slow or limiting, and our own rate limit are `ApiUnavailable`: a cause that
        all calls share. 404, a refused id and an unreadable answer are the call's own; and so is a failure that this
        call meets again and again while the API answers others.
        """
        return await self._fetch(f"/call/{_segment(call_id)}")

    async def _fetch(self, path: str) -> bytes:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Passing),
            wait=_Wait(self._patience.backoff_s),
            stop=stop_before_delay(self._patience.budget_s) | stop_after_attempt(self._patience.tries_max),
            reraise=True,
        )
        try:
            return await retrying(self._try, path, self._clock() + self._patience.budget_s)
        except _Passing as last:
            raise await self._judged(last.as_outcome) from last

    async def list_calls(self, part: Slice, limit: int) -> list[Any]:
        """The calls updated within a slice of time, at most `limit`, as `GET /call` lists them.

        Raises `ApiUnavailable`, or `CallUnreadable` for an answer that is no list.
        """
        query = {"updatedAtGe": iso(part.since), "updatedAtLt": iso(part.until), "limit": str(limit)}
        body = await self._fetch(f"/call?{urlencode(query)}")
        try:
            listed = parse(body)
        except NotJson as error:
            raise CallUnreadable(f"Vapi's list is not JSON: {error}") from error
        if not isinstance(listed, list):
            raise CallUnreadable("Vapi's list is no list")
        return listed

    async def probe(self) -> None:
        """Ask for the newest call, whichever it is. Raises `ApiUnavailable` unless Vapi answers."""
        try:
            async with self._get("/call?limit=1") as answer:
                VAPI_REQUESTS.labels(self._account.name, str(answer.status)).inc()
                if answer.status not in ANSWERS:
                    raise self._unavailable(answer.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiUnavailable(f"Vapi cannot be reached: {error or type(error).__name__}") from error

    async def _judged(self, outcome: Exception) -> Exception:
        """What a failure is that outlasted every try: everyone's, or this call's alone."""
        if isinstance(outcome, ApiUnavailable) and not await self.breaker.is_shared(outcome):
            return CallUnreadable(f"{outcome.reason} for this call, though it answers others")
        return outcome

    async def _try(self, path: str, end_at: float) -> bytes:
        if self.breaker.is_open:
            raise ApiUnavailable(self.breaker.reason, is_outage=True)
        try:
            await self._rate.turn(min(self._patience.turn_wait_max_s, end_at - self._clock() + LATE_TURN_S))
        except RateExceeded as error:
            raise ApiUnavailable(str(error), error.wait_s) from error
        began = time.perf_counter()
        status = "error"
        try:
            async with self._get(path) as answer:
                status = str(answer.status)
                return await self._read(answer)
        except aiohttp.ClientPayloadError as error:
            raise _Passing(CallUnreadable(f"Vapi's answer was cut off: {error}")) from error
        except TimeoutError as error:
            status = "timeout"
            raise _Passing(ApiUnavailable("Vapi does not answer in time")) from error
        except aiohttp.ClientError as error:
            raise _Passing(ApiUnavailable(f"Vapi cannot be reached: {error}")) from error
        except ValueError as error:
            trouble = ApiUnavailable(f"no header can carry the key of account {self._account.name}: check it")
            self.breaker.open(trouble.reason)
            raise trouble from error
        finally:
            VAPI_REQUESTS.labels(self._account.name, status).inc()
            VAPI_REQUEST_SECONDS.observe(time.perf_counter() - began)

    def _get(self, path: str) -> "aiohttp.client._RequestContextManager":
        url = URL(self._account.vapi_base_url.rstrip("/") + path, encoded=True)
        authorization = {"Authorization": f"Bearer {self._account.vapi_api_key.reveal()}"}
        # A redirect could carry the key to another host.
        return self._http.get(url, headers=authorization, allow_redirects=False)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.status == 200:  # noqa: PLR2004
            self._rate.speed_up()
            return await _read_body(answer, self._patience.body_max_bytes)
        raise self._trouble(answer.status, retry_after_s(answer.headers.get("Retry-After", "")))

    def _trouble(self, status: int, after_s: float | None) -> Exception:
        if status == 404:  # noqa: PLR2004
            return CallNotFound()
        if status == 400:  # noqa: PLR2004
            return CallRefused("Vapi refuses this call id (400)")
        if status == 429:  # noqa: PLR2004
            self._rate.slow_down(after_s)
        trouble = self._unavailable(status, after_s)
        if status in TRANSIENT:
            return _Passing(trouble, after_s)
        self.breaker.open(trouble.reason, after_s)
        return trouble

    def _unavailable(self, status: int, after_s: float | None = None) -> ApiUnavailable:
        if status in (401, 403):
            return ApiUnavailable(f"Vapi refuses the key of account {self._account.name} ({status}): check it")
        if status in TRANSIENT:
            return ApiUnavailable(f"Vapi answers {status}", after_s)
        return ApiUnavailable(f"Vapi answers {status}, which is none of its answers: check AFTERCALL_VAPI_BASE_URL")


def _segment(call_id: str) -> str:
    # aiohttp would resolve an id of dots alone as a path.
    return quote(call_id, safe="") if call_id.strip(".") else call_id.replace(".", "%2E")


async def _read_body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body, unpacked; what it says of its length is the packed one's, so it is measured while it comes."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise CallUnreadable(f"Vapi's answer is larger than {max_bytes} bytes")
    return bytes(body)


def retry_after_s(value: str) -> float | None:
    """The seconds a `Retry-After` header asks for, as a number or as a date (RFC 9110); None if it makes no sense.

    At most an hour: one odd answer must not hold the whole account until a restart.
    """
    if value.strip().isdecimal():
        return min(float(value), RETRY_AFTER_MAX_S)
    try:
        asked_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        return min(max(0.0, asked_s), RETRY_AFTER_MAX_S)
    except (ValueError, TypeError, OverflowError):
        return None


class _Wait(wait_base):
    """Full jitter, or as long as Vapi asks for; beyond the budget that ends the tries."""

    def __init__(self, backoff_s: float) -> None:
        self._backoff_s = wait_random_exponential(multiplier=backoff_s, max=8)

    def __call__(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, _Passing) else None
        return max(self._backoff_s(state), asked_s or 0.0)
