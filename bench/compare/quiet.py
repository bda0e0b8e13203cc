"""Whether the processors were ours while something was measured: a virtual machine's are lent to others too."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.compare.measuring import Figures

STOLEN: Final = "stolen_percent"
STOLEN_MAX: Final = 3.0
TRIES: Final = 3
REST_S: Final = 5.0
"""Hosts lend less to who has just taken much."""


def quietly(measure: Callable[[], Figures]) -> Figures:
    """Measure, and again while much was stolen: of a few tries the quietest, and the percentage stolen in it."""
    tried: list[Figures] = []
    while not tried or (tried[-1][STOLEN] > STOLEN_MAX and len(tried) < TRIES):
        time.sleep(REST_S if tried else 0.0)
        before = _times()
        tried.append(measure() | {STOLEN: _stolen_percent(before, _times())})
    return min(tried, key=lambda figures: figures[STOLEN])


def _times() -> list[int]:
    """What all processors did so far: user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
    return [int(each) for each in Path("/proc/stat").read_text().split()[1:9]]


def _stolen_percent(before: list[int], after: list[int]) -> float:
    spent = [new - old for old, new in zip(before, after, strict=True)]
    return 100 * spent[7] / max(1, sum(spent))
