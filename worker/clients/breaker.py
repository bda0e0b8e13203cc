"""One account's circuit breaker: open, its calls wait in their queue, and one request at a time asks for Vapi."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from consumers.enrich import ApiUnavailable
from worker.operate.telemetry import BREAKERS_OPEN, logger

PAUSE_MIN_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0

Probe = Callable[[], Awaitable[None]]
"""One cheap request; raises `ApiUnavailable` while the API serves nobody."""


class Breaker:
    """Whether the account's API is known to be unavailable, and why.

    A refused key opens it at once. Any other trouble opens it only if the probe fails too: what befalls one call alone
    is that call's own affair.
    """

    def __init__(
        self,
        account: str,
        probe: Probe,
        *,
        pause_min_s: float = PAUSE_MIN_S,
        pause_max_s: float = PAUSE_MAX_S,
        api: str = "vapi",
    ) -> None:
        self.reason = ""
        self._account = account
        self._probe = probe
        self._pause_min_s = pause_min_s
        self._pause_max_s = pause_max_s
        self._asked_wait_s = 0.0
        self._opened = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()
        self._gauge = BREAKERS_OPEN[api].labels(account)
        self._api = api
        self._asking: asyncio.Task[bool] | None = None
        self._gauge.set(0)

    @property
    def is_open(self) -> bool:
        """Whether nothing shall be asked of the API but the probe."""
        return self._opened.is_set()

    async def wait_open(self) -> None:
        """Wait until it is open."""
        await self._opened.wait()

    async def wait_closed(self, within_s: float) -> bool:
        """Wait until it is closed, or so long; whether it is."""
        try:
            async with asyncio.timeout(within_s):
                await self._closed.wait()
        except TimeoutError:
            return False
        return True

    def open(self, reason: str, retry_after_s: float | None = None) -> None:
        """Open it; nothing if it is open already."""
        if self.is_open:
            return
        self._heed(reason, retry_after_s)
        self._closed.clear()
        self._opened.set()
        self._gauge.set(1)
        logger().warning("breaker.opened", api=self._api, account=self._account, reason=reason)

    async def is_shared(self, trouble: ApiUnavailable) -> bool:
        """Whether the trouble that one call met is everyone's: then it is open. Asks once for all who doubt."""
        if self.is_open:
            return True
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answers(), name=f"probe of {self._account}")
        if await asyncio.shield(self._asking):
            return False
        self.open(trouble.reason, trouble.retry_after)
        return True

    async def run(self) -> None:
        """While it is open, probe until Vapi answers, and close it then.

        The pauses grow, and are as long as a `Retry-After` asks for, but never longer than a minute: an outage may end
        before it was expected to, and one request burdens nobody.
        """
        while True:
            await self._opened.wait()
            pause_s = self._pause_min_s
            await asyncio.sleep(self._asked_wait_s)
            while not await self._answers():
                jittered_s = random.uniform(pause_s / 2, pause_s)  # noqa: S311  # no secret
                await asyncio.sleep(max(jittered_s, self._asked_wait_s))
                pause_s = min(pause_s * 2, self._pause_max_s)
            self._close()

    async def _answers(self) -> bool:
        try:
            await self._probe()
        except ApiUnavailable as error:
            self._heed(error.reason, error.retry_after)
            return False
        return True

    def _heed(self, reason: str, retry_after_s: float | None) -> None:
        self.reason, self._asked_wait_s = reason, min(retry_after_s or 0.0, self._pause_max_s)

    def _close(self) -> None:
        self._opened.clear()
        self._closed.set()
        self._gauge.set(0)
        logger().info("breaker.closed", api=self._api, account=self._account)
