"""Vapi's API: fetching a call, with tries for the seconds; what takes longer is the tiers' matter."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

import aiohttp
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from consumers.enrich import ApiUnavailable, CallNotFound, CallRefused, CallUnreadable
from worker.clients.rate import Rate, RateExceeded
from worker.operate.telemetry import VAPI_REQUEST_SECONDS, VAPI_REQUESTS
from worker.settings import Account

BUDGET_S: Final = 20.0
TRIES_MAX: Final = 5
TURN_WAIT_MAX_S: Final = 20.0
BODY_MAX_BYTES: Final = 2**27
TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5, sock_connect=3, sock_read=10)
TRANSIENT: Final = frozenset({408, 425, 429, *range(500, 600)})
# Cloudflare stands before the API and blocks unusual clients.
USER_AGENT: Final = "aftercall (+https://github.com/aftercall/aftercall)"


class _Passing(Exception):
    """A failure that another try may not meet; `as_outcome` is what it counts as when none helped."""

    def __init__(self, as_outcome: Exception, retry_after_s: float | None = None) -> None:
        super().__init__(str(as_outcome))
        self.as_outcome = as_outcome
        self.retry_after_s = retry_after_s


def vapi_session(concurrency: int) -> aiohttp.ClientSession:
    """The HTTP client for one account: as many connections as deliveries in hand, no cookies, no redirects kept."""
    # aiohttp would stop at 100 connections by default, whatever the prefetch is.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=concurrency, limit_per_host=concurrency),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        timeout=TIMEOUT,
    )


class VapiClient:
    """The API of one account, at the account's rate."""

    def __init__(
        self, account: Account, http: aiohttp.ClientSession, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._account = account
        self._http = http
        self._rate = Rate(account.vapi_rate, clock=clock)

    async def fetch_call(self, call_id: str) -> bytes:
        """The body of `GET /call/<id>`; a `FetchCall`, and raises as one does.

        A refused key, an API that is down, slow or limiting, and our own rate limit are `ApiUnavailable`: a cause that
        all calls share. 404, a refused id and an unreadable answer are the call's own.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Passing),
            wait=_wait_s,
            stop=stop_before_delay(BUDGET_S) | stop_after_attempt(TRIES_MAX),
            reraise=True,
        )
        try:
            return await retrying(self._try, call_id)
        except _Passing as last:
            raise last.as_outcome from last

    async def _try(self, call_id: str) -> bytes:
        try:
            await self._rate.turn(TURN_WAIT_MAX_S)
        except RateExceeded as error:
            raise ApiUnavailable(str(error), error.wait_s) from error
        began = time.perf_counter()
        status = "error"
        try:
            async with self._get(call_id) as answer:
                status = str(answer.status)
                return await self._read(answer)
        except aiohttp.ClientPayloadError as error:
            raise _Passing(CallUnreadable(f"Vapi's answer was cut off: {error}")) from error
        except TimeoutError as error:
            status = "timeout"
            raise _Passing(ApiUnavailable("Vapi does not answer in time")) from error
        except aiohttp.ClientError as error:
            raise _Passing(ApiUnavailable(f"Vapi cannot be reached: {error}")) from error
        finally:
            VAPI_REQUESTS.labels(self._account.name, status).inc()
            VAPI_REQUEST_SECONDS.observe(time.perf_counter() - began)

    def _get(self, call_id: str) -> "aiohttp.client._RequestContextManager":
        url = f"{self._account.vapi_base_url.rstrip('/')}/call/{quote(call_id, safe='')}"
        authorization = {"Authorization": f"Bearer {self._account.vapi_api_key.reveal()}"}
        # A redirect could carry the key to another host.
        return self._http.get(url, headers=authorization, allow_redirects=False)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.status == 200:  # noqa: PLR2004
            self._rate.speed_up()
            return await _read_body(answer)
        raise self._trouble(answer.status, retry_after_s(answer.headers.get("Retry-After", "")))

    def _trouble(self, status: int, after_s: float | None) -> Exception:
        if status == 404:  # noqa: PLR2004
            return CallNotFound()
        if status in (401, 403):
            return ApiUnavailable(f"Vapi refuses the key of account {self._account.name} ({status}): check it")
        if status == 429:  # noqa: PLR2004
            self._rate.slow_down(after_s)
        if status in TRANSIENT:
            return _Passing(ApiUnavailable(f"Vapi answers {status}", after_s), after_s)
        if status == 400:  # noqa: PLR2004
            return CallRefused("Vapi refuses this call id (400)")
        return ApiUnavailable(f"Vapi answers {status}, which is none of its answers: check AFTERCALL_VAPI_BASE_URL")


async def _read_body(answer: aiohttp.ClientResponse) -> bytes:
    if (answer.content_length or BODY_MAX_BYTES + 1) <= BODY_MAX_BYTES:
        return await answer.read()
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise CallUnreadable(f"Vapi's answer is larger than {BODY_MAX_BYTES} bytes")
    return bytes(body)


def retry_after_s(value: str) -> float | None:
    """The seconds a `Retry-After` header asks for, as a number or as a date (RFC 9110); None if it makes no sense."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


_BACKOFF_S: Final = wait_random_exponential(multiplier=0.5, max=8)


def _wait_s(state: RetryCallState) -> float:
    """Full jitter, or as long as Vapi asks for; beyond the budget that ends the tries."""
    error = state.outcome.exception() if state.outcome else None
    asked_s = error.retry_after_s if isinstance(error, _Passing) else None
    return max(_BACKOFF_S(state), asked_s or 0.0)
