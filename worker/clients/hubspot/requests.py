"""Requests to HubSpot for one account: at its rate, with tries for the seconds; more is the tiers' matter."""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any, Final

import aiohttp
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from consumers.crm.hubspot import Refused
from consumers.enrich import ApiUnavailable
from consumers.outcomes import Hold, Retry
from worker.clients.breaker import Breaker, Probe
from worker.clients.hubspot.answers import (
    DAILY,
    DAILY_WAIT_S,
    NOT_FOUND,
    TOO_MANY,
    TRANSIENT,
    Answer,
    Limited,
    unavailable,
)
from worker.clients.hubspot.wire import PATIENCE, Passing, Patience, Wire, WrongToken
from worker.clients.rate import Rate, RateExceeded
from worker.settings import Account

SEARCHES: Final = 0.5
"""Of the rate: HubSpot allows 5 searches a second of the whole account, and 10 to 19 other requests of an app."""


class Requests:
    """Asks HubSpot on behalf of one account."""

    def __init__(  # noqa: PLR0913
        self,
        account: Account,
        http: aiohttp.ClientSession,
        base_url: str,
        per_second: float,
        *,
        probe: Probe,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience = PATIENCE,
    ) -> None:
        self.breaker = Breaker(account.name, probe, api="hubspot")
        self._wire = Wire(account, http, base_url, patience)
        self._account = account.name
        self._clock = clock
        self._patience = patience
        self._rate = Rate(per_second, clock=clock)
        self._searches = Rate(per_second * SEARCHES, clock=clock)
        self._spent_until = 0.0

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """An answer that did what was asked, or found nothing (404).

        Raises `Refused` for what HubSpot will not have, `Hold` for a cause that all calls of the account share, and
        `Retry` for one that this call alone meets again and again.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Passing),
            wait=self._wait_s,
            stop=stop_before_delay(self._patience.budget_s) | stop_after_attempt(self._patience.tries_max),
            reraise=True,
        )
        try:
            return await retrying(self._try, method, path, body)
        except Passing as last:
            raise await self.judged(last.trouble) from last
        except ApiUnavailable as error:
            raise Hold(error.reason, after=error.retry_after) from error

    async def judged(self, trouble: ApiUnavailable) -> Hold | Retry:
        """What a trouble is that outlasted every try: everyone's, or this call's alone."""
        if await self._is_shared(trouble) or isinstance(trouble, Limited):
            reason = self.breaker.reason if self.breaker.is_open else trouble.reason
            return Hold(reason, after=trouble.retry_after)
        return Retry(f"{trouble.reason}, though it answers others")

    async def once(self, method: str, path: str, body: Any = None, *, expected: Collection[int] = ()) -> Answer:
        """One request, whatever the breaker says. Raises `ApiUnavailable` for all but good and `expected` answers."""
        try:
            async with asyncio.timeout(self._patience.probe_s):
                answer = await self._wire.send(method, path, body)
        except Passing as error:
            raise error.trouble from error
        except TimeoutError as error:
            raise ApiUnavailable("HubSpot does not answer in time") from error
        if not answer.is_good and answer.status not in expected:
            raise unavailable(answer, self._account)
        return answer

    async def _is_shared(self, trouble: ApiUnavailable) -> bool:
        """Whether it is everyone's; so is one that the probe, of several requests at the start, cannot tell in time."""
        try:
            async with asyncio.timeout(self._patience.probe_s):
                return await self.breaker.is_shared(trouble)
        except TimeoutError:
            return True

    async def _try(self, method: str, path: str, body: Any) -> Answer:
        if self.breaker.is_open:
            raise ApiUnavailable(self.breaker.reason, is_outage=True)
        if (left_s := self._spent_until - self._clock()) > 0:
            raise ApiUnavailable("HubSpot's limit of requests a day is spent", left_s, is_outage=True)
        rate = self._searches if path.endswith("/search") else self._rate
        try:
            await rate.turn(self._patience.turn_s)
        except RateExceeded as error:
            raise ApiUnavailable(str(error), error.wait_s) from error
        try:
            answer = await self._wire.send(method, path, body)
        except WrongToken as error:
            self.breaker.open(error.reason)
            raise
        if answer.is_good:
            rate.speed_up()
        return self._checked(answer, rate)

    def _checked(self, answer: Answer, rate: Rate) -> Answer:
        if answer.is_good or answer.status == NOT_FOUND:
            return answer
        if answer.status == TOO_MANY:
            rate.slow_down(answer.wait_s)
        if answer.policy == DAILY:
            self._spent_until = self._clock() + max(answer.asked_wait_s or 0.0, DAILY_WAIT_S)
            raise ApiUnavailable("HubSpot's limit of requests a day is spent", DAILY_WAIT_S)
        if answer.refuses_token or answer.status < 400:  # noqa: PLR2004
            trouble = unavailable(answer, self._account)
            self.breaker.open(trouble.reason)
            raise trouble
        if answer.status in TRANSIENT:
            raise Passing(unavailable(answer, self._account))
        raise Refused(f"HubSpot refuses it ({answer.status}): {answer.words}", answer.existing_id)

    def _wait_s(self, state: RetryCallState) -> float:
        """Full jitter, or as long as HubSpot asks for."""
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.trouble.retry_after if isinstance(error, Passing) else None
        backoff_s = wait_random_exponential(multiplier=self._patience.backoff_s, max=8)
        return max(backoff_s(state), asked_s or 0.0)
