"""The end of a process, in order."""

import asyncio
import os
import signal
import time


class Stopping:
    """When to stop, by SIGTERM or SIGINT, and how many seconds of the grace are left then."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._event = asyncio.Event()
        self._since = 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)

    @property
    def is_wanted(self) -> bool:
        """Whether it was asked for."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until it is asked for."""
        await self._event.wait()

    def left_s(self) -> float:
        """The seconds left to finish in."""
        return max(0.0, self._since + self._grace_s - time.monotonic()) if self.is_wanted else self._grace_s

    def ask(self) -> None:
        """Ask for it; again is the same."""
        if not self.is_wanted:
            self._since = time.monotonic()
            self._event.set()

    def _stop(self) -> None:
        if self.is_wanted:
            os._exit(128 + signal.SIGTERM)
        self.ask()
