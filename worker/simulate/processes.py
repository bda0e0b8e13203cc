"""The roles as processes of their own, for the demo and the drill."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

READY_S: Final = 30.0
STOP_S: Final = 30.0
LOOK_EVERY_S: Final = 0.1
LOG_TAIL: Final = 20


class DidNotStart(Exception):
    """A process ended, or was not ready in time; the end of its log is in the text."""


class Role:
    """One `aftercall` command, or another module, in a process of its own; ended by its pid with the context.

    Its log is in a file.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str], log: Path, module: str = "worker.cli") -> None:
        self._arguments = arguments
        self._module = module
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it; again, once it has ended. The log goes on where it was."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module, *self._arguments),
                env={**inherited, **self._environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the demo is the demo's: it stops them in order
            )

    async def stop(self) -> None:
        """Ask it to end, by SIGTERM, and end it by force if it takes too long; nothing if it has ended."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def kill(self) -> None:
        """End it as a crash would, by SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal, such as SIGSTOP and SIGCONT; nothing if it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id, once it is started."""
        return self._process.pid if self._process else 0

    async def ready(self, url: str) -> None:
        """Wait until `url` answers 200. Raises `DidNotStart`."""
        try:
            async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
                while not await _is_ok(http, url):
                    self._check_it_runs()
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError as error:
            raise DidNotStart(f"{self._log.stem} is not ready after {READY_S:.0f} s:\n{self._tail()}") from error

    def _check_it_runs(self) -> None:
        if self._process is None or self._process.returncode is not None:
            raise DidNotStart(f"{self._log.stem} ended:\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL:])


async def _is_ok(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as answer:
            return answer.status == 200  # noqa: PLR2004
    except aiohttp.ClientError:
        return False
