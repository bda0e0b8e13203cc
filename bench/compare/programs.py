"""A contestant's program while it runs: its processor time, its memory, and its end."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.compare.contestants import Contestant, Given, environment
from bench.rig import pids_of, pss_mb, spent_s

READY_S: Final = 60.0
STOP_S: Final = 15.0
LOG_TAIL: Final = 3000


class Failed(Exception):
    """A program ended, or did not get there in time; the end of its log is in the text."""


class Program:
    """A program and all it started."""

    def __init__(self, command: list[str], *, folder: Path, told: dict[str, str], log: Path) -> None:
        self.began = time.perf_counter()
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=folder, env=_inherited() | told, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pids(self) -> list[int]:
        """Its processes: itself, and what it started."""
        return pids_of(self._process.pid)

    def cpu_s(self) -> float:
        """The processor seconds so far of those that run."""
        return sum(map(spent_s, self.pids))

    def pss_mb(self) -> float:
        """What it has in memory now, in MB; of what it shares with others, its part."""
        return sum(map(pss_mb, self.pids))

    def wait(self, is_there: Callable[[], bool], within_s: float = READY_S, every_s: float = 0.005) -> None:
        """Wait until something is so. Raises `Failed`."""
        end_at = time.monotonic() + within_s
        while not is_there():
            if self._process.poll() is not None or time.monotonic() > end_at:
                raise Failed(f"{self._process.args!r}:\n{self._log.read_text(errors='replace')[-LOG_TAIL:]}")
            time.sleep(every_s)

    def end(self) -> None:
        """Ask it to end, and end it by force if it does not."""
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def running(contestant: Contestant, words: tuple[str, ...], given: Given) -> Iterator[Program]:
    """One of a contestant's programs, until the context ends."""
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder:
        program = Program(
            contestant.command(words, given),
            folder=contestant.folder,
            told=environment(given),
            log=Path(folder) / "log",
        )
        try:
            yield program
        finally:
            program.end()


def _inherited() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("AFTERCALL_", "PYTHON"))}
