"""What is measured, in which order, and how each figure is told."""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from bench.compare.contestants import CONTESTANTS, OURS, Contestant
from bench.compare.measuring import Figures, drain, latency, start, webhooks
from bench.compare.rig import Rig

SHORT: Final = 3_000


class Figure(msgspec.Struct, frozen=True):
    """One line of the table; `chart` is its heading in the chart, if it is in it."""

    key: str
    title: str
    digits: int = 0
    chart: str = ""


class Phase(msgspec.Struct, frozen=True):
    """One measurement, of all contestants in turn or of ours alone."""

    name: str
    measure: Callable[[Rig, Contestant], Figures]
    figures: tuple[Figure, ...]
    is_ours_alone: bool = False

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """Who takes part in it."""
        return (OURS,) if self.is_ours_alone else tuple(CONTESTANTS.values())


def _backlog(rig: Rig, contestant: Contestant) -> Figures:
    """A long backlog against a short one, which is measured before it and after it."""
    before = drain(rig, contestant, waiting=SHORT)
    long = drain(rig, contestant, waiting=rig.long_backlog, most=SHORT)
    after = drain(rig, contestant, waiting=SHORT)
    return {f"short_{key}": (before[key] + after[key]) / 2 for key in before} | long


def _two(rig: Rig, contestant: Contestant) -> Figures:
    """Two workers beside one."""
    one, two = drain(rig, contestant), drain(rig, contestant, workers=2)
    return {"one_rate": one["rate"], "one_cpu_ms": one["cpu_ms"]} | two


def _cpu_ms(who: str, what: str) -> Figure:
    return Figure("cpu_ms", f"{who}: ms of processor a {what}", 2, chart=f"{who}: CPU ms a {what} (less is better)")


PHASES: Final = (
    Phase(
        "webhooks",
        webhooks,
        (
            Figure("rate", "webhooks accepted a second, 64 connections", chart="webhooks a second"),
            _cpu_ms("endpoint", "webhook"),
            Figure("pss_mb", "endpoint: memory after the load, MB"),
        ),
    ),
    Phase(
        "drain-20",
        drain,
        (
            Figure("rate", "calls a second, 20 KB", chart="calls a second, 20 KB"),
            _cpu_ms("worker", "call, 20 KB"),
            Figure("pss_mb", "worker: most memory, 20 KB, MB"),
        ),
    ),
    Phase(
        "drain-300",
        partial(drain, size_kb=300, fastest=400),
        (
            Figure("rate", "calls a second, 300 KB", chart="calls a second, 300 KB"),
            Figure("cpu_ms", "worker: ms of processor a call, 300 KB", 2),
            Figure("pss_mb", "worker: most memory, 300 KB, MB", chart="worker: MB at 300 KB (less is better)"),
        ),
    ),
    Phase(
        "slow-64",
        partial(drain, latency_ms=200, fastest=320),
        (Figure("rate", "calls a second, an API of 200 ms, 64 at a time (320 at most)"),),
    ),
    Phase(
        "slow-256",
        partial(drain, latency_ms=200, concurrency=256, fastest=1280),
        (
            Figure("rate", "calls a second, an API of 200 ms, 256 at a time (1,280 at most)"),
            Figure("pss_mb", "worker: most memory, 256 at a time, MB"),
        ),
    ),
    Phase(
        "latency",
        latency,
        (
            Figure("p50_ms", "from webhook to subscriber at 100 calls a second, an API of 50 ms: median, ms", 1),
            Figure("p99_ms", "the same: 99th percentile, ms", 1),
        ),
    ),
    Phase(
        "start",
        start,
        (
            Figure("worker_s", "start of the worker, until it consumes, s", 2),
            Figure("endpoint_s", "start of the endpoint, until it listens, s", 2),
        ),
    ),
    Phase(
        "two",
        _two,
        (
            Figure("one_rate", "calls a second, one worker"),
            Figure("rate", "calls a second, two workers"),
            Figure("one_cpu_ms", "ms of processor a call, one worker", 2),
            Figure("cpu_ms", "ms of processor a call, two workers", 2),
        ),
        is_ours_alone=True,
    ),
    Phase(
        "backlog",
        _backlog,
        (
            Figure("short_rate", "calls a second, a short backlog"),
            Figure("rate", "calls a second, a long backlog"),
            Figure("short_pss_mb", "worker: most memory, a short backlog, MB"),
            Figure("pss_mb", "worker: most memory, a long backlog, MB"),
        ),
        is_ours_alone=True,
    ),
)
