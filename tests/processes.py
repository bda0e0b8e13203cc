"""Real processes for the tests, and waiting for what they do: polling with a deadline, never a fixed wait."""

import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar, cast

import aiohttp
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay, wait_fixed

T = TypeVar("T")

AFTERCALL = str(Path(sys.executable).with_name("aftercall"))
"""The command as users have it."""

PATIENCE_S = 90.0
"""How long something is waited for that must come: a busy machine takes its time, so it is no measure of speed."""

_POLL_S = 0.05


async def eventually(probe: Callable[[], T | Awaitable[T]], within_s: float = PATIENCE_S) -> T:
    """Ask until the answer is true, and return it; an AssertionError with the last answer when the time is up.

    The probe's own AssertionErrors count as "not yet".
    """
    last: object = None

    async def ask() -> T | None:
        nonlocal last
        try:
            last = answer = await _answer(probe)
        except AssertionError as error:
            last, answer = error, None
        return answer

    def is_wanting(answer: T | None) -> bool:
        return not answer

    patience = AsyncRetrying(
        stop=stop_after_delay(within_s), wait=wait_fixed(_POLL_S), retry=retry_if_result(is_wanting)
    )
    try:
        return cast("T", await patience(ask))
    except RetryError:
        raise AssertionError(f"not within {within_s:g} s; the last answer was {last!r}") from None


async def _answer(probe: Callable[[], T | Awaitable[T]]) -> T:
    answer = probe()
    return cast("T", await answer if inspect.isawaitable(answer) else answer)


class EndedTooSoonError(Exception):
    """A process ended before it did what was waited for; quotes what it printed."""


class RunningProcess:
    """A process of its own, with what it prints (stdout and stderr) in a file.

    It inherits no AFTERCALL_ variable: what it is to know stands in `environment`. Stop it with `close()`, or use the
    fixture `start_process`, which does.
    """

    def __init__(self, *command: str, output: Path, environment: Mapping[str, str] | None = None) -> None:
        self.output = output
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                env={**inherited, "PYTHONUNBUFFERED": "1", **(environment or {})},
                cwd=output.parent,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace")

    async def wait_for_line(self, pattern: str, within_s: float = PATIENCE_S) -> re.Match[str]:
        """Wait until a line matches the regular expression somewhere, and return the match."""
        compiled = re.compile(pattern, re.MULTILINE)
        match = await self._while_it_runs(lambda: compiled.search(self.text()), f"a line like {pattern!r}", within_s)
        assert match
        return match

    async def wait_for_url(self, url: str, within_s: float = PATIENCE_S, status: int = 200) -> bytes:
        """Wait until GET `url` answers with `status`, and return the body."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:

            async def answer() -> list[bytes]:
                try:
                    async with session.get(url) as response:
                        return [await response.read()] if response.status == status else []
                except (aiohttp.ClientError, TimeoutError):
                    return []

            bodies: list[bytes] = await self._while_it_runs(answer, f"{status} from {url}", within_s)
            return bodies[0]

    async def wait(self, within_s: float = PATIENCE_S) -> int:
        """Wait for its end, and return its exit code."""
        await self._polled(lambda: self.exit_code is not None, "end", within_s)
        return self._process.wait()

    async def terminate(self, within_s: float = PATIENCE_S) -> int:
        """Ask it to end (SIGTERM), and return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait(within_s)

    async def kill(self) -> int:
        """End it as a crash would (SIGKILL)."""
        self.signal(signal.SIGKILL)
        return await self.wait()

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP and SIGCONT; nothing if it has ended."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End it by force if it still runs."""
        self._process.kill()
        self._process.wait()

    async def _while_it_runs(self, probe: Callable[[], T | Awaitable[T]], what: str, within_s: float) -> T:
        async def ask() -> T:
            ended = self.exit_code is not None  # looked at first: what it printed last is there then
            answer = await _answer(probe)
            if ended and not answer:
                raise EndedTooSoonError(f"exit code {self.exit_code} instead of {what}; it printed:\n{self.text()}")
            return answer

        return await self._polled(ask, what, within_s)

    async def _polled(self, probe: Callable[[], T | Awaitable[T]], what: str, within_s: float) -> T:
        try:
            return await eventually(probe, within_s)
        except AssertionError:
            raise AssertionError(f"no {what} within {within_s:g} s; it printed:\n{self.text()}") from None
