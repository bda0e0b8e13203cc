"""Vapi's API: fetching a call, with tries for the seconds; what takes longer is the tiers' matter."""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

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

from consumers.concurrency import in_hand_for
from consumers.enrich import ApiUnavailable, CallNotFound, CallRefused, CallUnreadable, is_refusal
from consumers.slices import Slice
from consumers.timestamps import iso
from worker.clients.breaker import Breaker
from worker.clients.rate import Rate, RateExceeded
from worker.clients.tls import TlsFileUnusable, followed_context
from worker.clients.vapi_http import asked_wait_s, call_path, read_body
from worker.operate import tracing
from worker.operate.limits import within
from worker.operate.telemetry import VAPI_REQUEST_SECONDS, VAPI_REQUESTS, status_label
from worker.operate.words import in_words
from worker.settings import Account
from worker.settings.tls import tls_files_of

TRY_S: Final = 15.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=TRY_S, connect=5, sock_connect=3, sock_read=10)
BY_OURSELVES: Final = aiohttp.ClientTimeout(total=None, sock_connect=3)
"""For who has a limit around each request: aiohttp's own would each cost a tenth of it."""
TRANSIENT: Final = frozenset({408, 425, 429, *range(500, 600)})
# Cloudflare stands before the API and blocks unusual clients.
USER_AGENT: Final = "aftercall (+https://github.com/aftercall/aftercall)"


class Patience(msgspec.Struct, frozen=True):
    """How long one fetch may take (seconds), and how large an answer may be once it is unpacked.

    Everything ends within `whole_s`, of which the last `probe_s` are the probe's. No try is planned for later than
    `budget_s`, and none begins with less than `try_min_s` to the end of them all; between tries are up to `backoff_s`,
    doubled each time, and what Vapi asks for.
    """

    whole_s: float = 40.0
    probe_s: float = 10.0
    try_min_s: float = 5.0
    budget_s: float = 20.0
    tries_max: int = 5
    backoff_s: float = 0.5
    body_max_bytes: int = 2**27


PATIENCE: Final = Patience()
LATENCY_S: Final = 1.0
"""What a request is taken to need until one was made."""
HEEDED: Final = 0.1
"""How much of the latency that is gone by the latest request tells."""


class _Passing(Exception):
    """A failure that another try may not meet; `as_outcome` is what it counts as when none helped."""

    def __init__(self, as_outcome: Exception, retry_after_s: float | None = None) -> None:
        super().__init__(str(as_outcome))
        self.as_outcome = as_outcome
        self.retry_after_s = retry_after_s


def vapi_session(concurrency: int, timeout: aiohttp.ClientTimeout = TIMEOUT) -> aiohttp.ClientSession:
    """The HTTP client for one account: as many connections as deliveries in hand, no cookies, no redirects kept.

    The probe and the sweep have one each besides, or many slow fetches would make Vapi seem away.
    """
    connections = concurrency + 2  # aiohttp would stop at 100 by default, whatever the prefetch is
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, limit_per_host=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        timeout=timeout,
        trace_configs=tracing.requests(),
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
        self._root, self._tls_files = account.vapi_root, tls_files_of(account.vapi_base_url)
        self._latency_s = LATENCY_S
        self.breaker = Breaker(account.name, self.probe)

    def deadline(self) -> float:
        """The end, by the client's clock, of a fetch that is asked for now."""
        return self._clock() + self._patience.whole_s

    def in_hand(self) -> int:
        """How many calls in hand keep the API busy, by its latency and the account's rate."""
        return in_hand_for(self._account.vapi_rate, self._latency_s)

    async def fetch_call(self, call_id: str, *, end_at: float | None = None) -> bytes:
        """The body of `GET /call/<id>`, or what is wrong, before `end_at`; a `FetchCall`, and raises as one does.

        A refused key, an API that is down, slow or limiting, and our own rate limit are `ApiUnavailable`: a cause that
        all calls share. 404, a refused id and an unreadable answer are the call's own; and so is a failure that this
        call meets again and again while the API answers others.
        """
        return await self._fetch(call_path(call_id), self.deadline() if end_at is None else end_at)

    async def _fetch(self, path: str, end_at: float) -> bytes:
        tries_end_at = end_at - self._patience.probe_s
        began, left_s = self._clock(), self._left_s(tries_end_at)
        try:
            return await self._try(path, tries_end_at)
        except _Passing as first:
            left_s -= self._clock() - began
            return await self._retry(first, path, tries_end_at, left_s)

    async def _retry(self, first: _Passing, path: str, tries_end_at: float, left_s: float) -> bytes:
        """Try on after a first failure; nearly every fetch does without (tenacity was a tenth of what one cost)."""
        failed = [first]

        async def again() -> bytes:
            if failed:
                raise failed.pop()
            return await self._try(path, tries_end_at)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Passing),
            wait=_Wait(self._patience.backoff_s),
            stop=stop_before_delay(left_s) | stop_after_attempt(self._patience.tries_max),
            reraise=True,
        )
        try:
            return await retrying(again)
        except _Passing as last:
            raise await self._judged(last.as_outcome) from last

    def _left_s(self, tries_end_at: float) -> float:
        """How long a try may still wait to begin."""
        return min(self._patience.budget_s, tries_end_at - self._patience.try_min_s - self._clock())

    async def list_calls(self, part: Slice, limit: int) -> bytes:
        """The body of `GET /call` for the calls updated within a slice of time, at most `limit`.

        Raises as `fetch_call` does.
        """
        query = {"updatedAtGe": iso(part.since), "updatedAtLt": iso(part.until), "limit": str(limit)}
        return await self._fetch(f"/call?{urlencode(query)}", self.deadline())

    async def probe(self) -> None:
        """Ask for the newest call, whichever it is. Raises `ApiUnavailable` unless Vapi lists it in time.

        Nothing but 200 will do: where this request is answered 400 or 404, somebody else answers.
        """
        try:
            async with asyncio.timeout(self._patience.probe_s), self._get("/call?limit=1") as answer:
                VAPI_REQUESTS.labels(self._account.name, status_label(answer.status)).inc()
                if answer.status != 200:  # noqa: PLR2004
                    raise self._unavailable(answer.status, asked_wait_s(answer))
        except TimeoutError as error:
            raise ApiUnavailable("Vapi does not answer in time") from error
        except (aiohttp.ClientError, TlsFileUnusable, ValueError) as error:
            raise ApiUnavailable(f"Vapi cannot be reached: {in_words(error)}") from error

    async def _judged(self, outcome: Exception) -> Exception:
        """What a failure is that outlasted every try: everyone's, or this call's alone."""
        if isinstance(outcome, ApiUnavailable) and not await self.breaker.is_shared(outcome):
            return CallUnreadable(f"{outcome.reason} for this call, though it answers others")
        return outcome

    async def _try(self, path: str, tries_end_at: float) -> bytes:
        if self.breaker.is_open:
            raise ApiUnavailable(self.breaker.reason, is_outage=True)
        try:
            await self._rate.turn(self._left_s(tries_end_at))
        except RateExceeded as error:
            raise ApiUnavailable(str(error), error.wait_s) from error
        began = time.perf_counter()
        status = "error"
        try:
            with within(min(tries_end_at - self._clock(), TRY_S)):
                async with self._get(path) as answer:
                    status = status_label(answer.status)
                    body = await self._read(answer)
                    self._latency_s += HEEDED * (time.perf_counter() - began - self._latency_s)
                    return body
        except aiohttp.ClientPayloadError as error:
            raise _Passing(CallUnreadable(f"Vapi's answer was cut off: {error}")) from error
        except TimeoutError as error:
            status = "timeout"
            raise _Passing(ApiUnavailable("Vapi does not answer in time")) from error
        except (aiohttp.ClientError, TlsFileUnusable) as error:
            raise _Passing(ApiUnavailable(f"Vapi cannot be reached: {in_words(error)}")) from error
        except ValueError as error:
            trouble = ApiUnavailable(f"no header can carry the key of account {self._account.name}: check it")
            self.breaker.open(trouble.reason)
            raise trouble from error
        finally:
            VAPI_REQUESTS.labels(self._account.name, status).inc()
            VAPI_REQUEST_SECONDS.observe(time.perf_counter() - began)

    def _get(self, path: str) -> "aiohttp.client._RequestContextManager":
        url = URL(self._root + path, encoded=True)
        authorization = {"Authorization": f"Bearer {self._account.vapi_api_key.reveal()}"}
        # A redirect could carry the key to another host.
        context = followed_context(self._tls_files)
        return self._http.get(url, headers=authorization, allow_redirects=False, ssl=context)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.status == 200:  # noqa: PLR2004
            self._rate.speed_up()
            return await read_body(answer, self._patience.body_max_bytes)
        if answer.status == 400:  # noqa: PLR2004
            raise self._refused(await read_body(answer, self._patience.body_max_bytes))
        raise self._trouble(answer.status, asked_wait_s(answer))

    def _refused(self, body: bytes) -> Exception:
        """A refused id, or a proxy's page: the probe tells whether that one has something against every request."""
        return CallRefused("Vapi refuses this call id (400)") if is_refusal(body) else _Passing(self._unavailable(400))

    def _trouble(self, status: int, after_s: float | None) -> Exception:
        if status == 404:  # noqa: PLR2004
            return CallNotFound()
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
        if status == 400:  # noqa: PLR2004
            return ApiUnavailable("some proxy answers 400: check AFTERCALL_VAPI_BASE_URL and its certfile")
        return ApiUnavailable(f"Vapi answers {status}, which it never does here: check AFTERCALL_VAPI_BASE_URL")


class _Wait(wait_base):
    """Full jitter, or as long as Vapi asks for; beyond the budget that ends the tries."""

    def __init__(self, backoff_s: float) -> None:
        self._backoff_s = wait_random_exponential(multiplier=backoff_s, max=8)

    def __call__(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, _Passing) else None
        return max(self._backoff_s(state), asked_s or 0.0)
