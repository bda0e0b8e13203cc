"""A role that counts what it does between two signals: `python -m bench.cost.watched REPORT HOW ROLE…`.

How: `count` the instructions of Python's bytecode and the calls of C functions, `time` the processor seconds, or
`profile` with cProfile. From SIGUSR1 to SIGUSR2; the report is JSON, or what `pstats` reads.
"""

import cProfile
import gc
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

from worker.cli import main


class Watch(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def report(self, path: Path) -> None: ...


class Count:
    def __init__(self) -> None:
        self._instructions: Counter[CodeType] = Counter()
        self._c_calls: Counter[str] = Counter()

    def start(self) -> None:
        sys.settrace(self._trace)
        sys.setprofile(self._profile)

    def stop(self) -> None:
        sys.settrace(None)
        sys.setprofile(None)

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode":
            self._instructions[frame.f_code] += 1
        elif event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace

    def _profile(self, _frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            self._c_calls[f"{argument.__module__ or type(argument.__self__).__name__}.{argument.__qualname__}"] += 1

    def report(self, path: Path) -> None:
        """By name, since a function's line says nothing to those who compare two versions."""
        instructions: Counter[str] = Counter()
        for code, count in self._instructions.items():
            if code.co_filename != __file__:
                instructions[_name(code)] += count
        path.write_text(json.dumps({"instructions": instructions, "c_calls": self._c_calls}))


class Time:
    def start(self) -> None:
        self._began_s = time.process_time()

    def stop(self) -> None:
        self._spent_s = time.process_time() - self._began_s

    def report(self, path: Path) -> None:
        path.write_text(json.dumps({"seconds": self._spent_s}))


class Profile:
    def __init__(self) -> None:
        self._profile = cProfile.Profile()

    def start(self) -> None:
        self._profile.enable()

    def stop(self) -> None:
        self._profile.disable()

    def report(self, path: Path) -> None:
        self._profile.dump_stats(path)


def _name(code: CodeType) -> str:
    file = Path(code.co_filename)
    return f"{'/'.join(file.with_suffix('').parts[-2:])}:{code.co_qualname}"


def watch(path: Path, how: str, arguments: list[str]) -> None:
    """Run the role to its end, and write the report."""
    watches: dict[str, type[Watch]] = {"count": Count, "time": Time, "profile": Profile}
    of_role = watches[how]()

    def start(number: int, _frame: object) -> None:
        if how == "count":
            gc.disable()  # when it comes is chance, and what it finalises is counted
        path.with_suffix(f".{number}").touch()
        of_role.start()

    def stop(number: int, _frame: object) -> None:
        of_role.stop()
        path.with_suffix(f".{number}").touch()

    signal.signal(signal.SIGUSR1, start)
    signal.signal(signal.SIGUSR2, stop)
    try:
        main(arguments)
    finally:
        of_role.report(path)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
