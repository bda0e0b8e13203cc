"""The measurements: each is given a contestant, and returns figures."""

import os
import re
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.bodies import PLACE
from bench.compare.broker import Queues
from bench.compare.contestants import SECRET, Contestant
from bench.compare.posting import pace, percentile
from bench.compare.programs import Failed, Program, running
from bench.compare.rig import CONNECTIONS, SIZE_KB, Rig, endpoint_of, post_one, queues_of, rest

WARM_S: Final = 1
BEGUN: Final = 300
"""So many calls are worked off before anything is measured."""
MEASURED: Final = 0.9
"""Of what waits, at the most: the last calls are not a full load."""
DRAIN_S: Final = 600.0
LOOK_EVERY_S: Final = 0.02
MEMORY_EVERY_S: Final = 0.25
Figures = dict[str, float]


def webhooks(rig: Rig, contestant: Contestant) -> Figures:
    """Post as fast as they are answered, with no worker behind."""
    with queues_of(rig, contestant) as queues, endpoint_of(rig, contestant) as (program, url):
        post_one(rig, url, SIZE_KB)
        program.wait(lambda: queues.depth(queues.calls) > 0)  # an endpoint may listen before it publishes
        _wrk(rig, url, WARM_S)
        spent, waiting = program.cpu_s(), queues.depth(queues.calls)
        posted = _wrk(rig, url, rig.seconds)
        spent = program.cpu_s() - spent
        program.wait(lambda: queues.depth(queues.calls) - waiting >= posted, within_s=5)
        return {"rate": posted / rig.seconds, "cpu_ms": spent * 1000 / posted, "pss_mb": program.pss_mb()}


def _wrk(rig: Rig, url: str, seconds: int) -> int:
    """How many were answered by 200. Raises `Failed` if any was not."""
    told = {"BODY": str(rig.report(SIZE_KB)), "PLACE": PLACE.decode(), "SECRET": SECRET}
    script = Path(__file__).with_name("post.lua")
    command = ("wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s")
    done = subprocess.run(
        [*command, "--script", script, url], env=os.environ | told, capture_output=True, text=True, check=True
    )
    found = re.search(r"(\d+) requests in", done.stdout)
    if not found or "Non-2xx" in done.stdout:
        raise Failed(done.stdout)
    return int(found[1])


def drain(  # noqa: PLR0913  # most are only for some
    rig: Rig,
    contestant: Contestant,
    *,
    size_kb: int = SIZE_KB,
    latency_ms: int = 0,
    concurrency: int = CONNECTIONS,
    fastest: int = 2_000,
    waiting: int = 0,
    most: int = 0,
    workers: int = 1,
) -> Figures:
    """Work off a backlog, by one worker or more, for so many seconds, or till it is nearly worked off.

    So many wait, or what would be worked off at `fastest` calls a second; of them `most`, or all, are worked off.
    """
    waiting = waiting or BEGUN + fastest * rig.seconds
    with queues_of(rig, contestant) as queues:
        with endpoint_of(rig, contestant) as (program, url):
            post_one(rig, url, size_kb)
            program.wait(lambda: queues.depth(queues.calls) > 0)
            time.sleep(2)  # until a quorum queue lets go of what it only counts
        queues.fill(waiting)
        rest(rig)
        with ExitStack() as stack:
            given = (rig.given(contestant, (size_kb, latency_ms), concurrency) for _ in range(workers))
            programs = [stack.enter_context(running(contestant, contestant.worker, each)) for each in given]
            return _drained(queues, programs, rig.seconds, int((most or waiting) * MEASURED))


def _drained(queues: Queues, programs: list[Program], seconds: int, most: int) -> Figures:
    passed: list[tuple[float, int, float]] = []
    peak_mb, look_at = 0.0, 0.0

    def is_done() -> bool:
        nonlocal peak_mb, look_at
        done, now = queues.depth(queues.enriched), time.perf_counter()
        is_over = bool(passed) and (done >= most or now >= passed[0][0] + seconds)
        if is_over or (done >= BEGUN and not passed):
            passed.append((now, done, sum(each.cpu_s() for each in programs)))
        if now >= look_at:
            peak_mb, look_at = max(peak_mb, sum(each.pss_mb() for each in programs)), now + MEMORY_EVERY_S
        return is_over

    programs[0].wait(is_done, within_s=DRAIN_S, every_s=LOOK_EVERY_S)
    (began, first, spent), (ended, last, spent_last) = passed
    return {
        "rate": (last - first) / (ended - began),
        "cpu_ms": (spent_last - spent) * 1000 / (last - first),
        "pss_mb": peak_mb,
    }


def latency(rig: Rig, contestant: Contestant) -> Figures:
    """Post 100 calls a second and see how long each takes till it is in the subscriber's queue."""
    given = rig.given(contestant, (SIZE_KB, 50))
    with queues_of(rig, contestant) as queues, endpoint_of(rig, contestant) as (_, url):
        post_one(rig, url, SIZE_KB)
        with running(contestant, contestant.worker, given) as worker:
            worker.wait(lambda: queues.depth(queues.enriched) > 0)
            took = pace(url, rig.report(SIZE_KB).read_bytes(), queues, rig.seconds)
    return {"p50_ms": percentile(took, 50) * 1000, "p99_ms": percentile(took, 99) * 1000}


def start(rig: Rig, contestant: Contestant) -> Figures:
    """From the start of a program until it takes connections, or consumes."""
    with queues_of(rig, contestant) as queues:
        with endpoint_of(rig, contestant) as (program, _):
            endpoint_s = time.perf_counter() - program.began
        with running(contestant, contestant.worker, rig.given(contestant, (SIZE_KB, 0))) as program:
            program.wait(queues.is_consumed)
            return {"endpoint_s": endpoint_s, "worker_s": time.perf_counter() - program.began}
