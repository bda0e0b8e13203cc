"""Measure whether a backlog slows the enricher, `python -m bench.backlog`: what it does a second as 100,000 calls wait.

The notifications are published beforehand, as the endpoint does; then one `aftercall consume enrich` works them off, as
shipped, with everything switched on.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aio_pika

from bench.__main__ import Rig, enriching, spent_s
from bench.ledger import fill
from bench.spool import messages_of
from worker.broker import declare
from worker.broker.topology import topology_of
from worker.settings import load
from worker.simulate.rabbitmq import find_broker

LOOK_EVERY_S = 0.5


def rss_max_mb(pid: int) -> float:
    """The most that a process had in memory so far, in MB."""
    (line,) = (each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


async def windows(rig: Rig, pid: int, window_s: float) -> AsyncIterator[dict[str, Any]]:
    """How fast the backlog shrinks, window by window, until nothing is left of it."""
    before, began, spent = await rig.backlog(), time.perf_counter(), spent_s(pid)
    left = before
    while left:
        await asyncio.sleep(LOOK_EVERY_S)
        left, seconds = await rig.backlog(), time.perf_counter() - began
        if seconds < window_s and left:
            continue
        done, cpu_s = max(1, before - left), spent_s(pid) - spent
        yield {
            "waiting": before,
            "per_second": round(done / seconds),
            "cpu_ms_each": round(cpu_s * 1000 / done, 3),
            "rss_max_mb": round(rss_max_mb(pid)),
        }
        before, began, spent = left, time.perf_counter(), spent + cpu_s


async def measure(rig: Rig) -> None:
    """Fill the queue, work it off, and print each window."""
    settings, given = load(rig.environment), rig.given
    async with await aio_pika.connect(rig.amqp_url) as connection:
        await declare.apply(connection, topology_of(settings))
    began = time.perf_counter()
    await fill(rig.amqp_url, messages_of(given.size_bytes, given.backlog))
    print(f"{given.backlog} notifications put there in {time.perf_counter() - began:.0f} s", flush=True)
    began = time.perf_counter()
    async with enriching(rig) as role:
        async for figures in windows(rig, role.pid, given.window_s):
            print(figures, flush=True)
    print(f"worked off in {time.perf_counter() - began:.0f} s", flush=True)


async def run(given: argparse.Namespace) -> None:
    """Measure on a broker of our own."""
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder:
        async with find_broker({}, tell=print) as broker:
            await measure(Rig(broker.url, Path(folder), given))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.backlog", description=__doc__)
    parser.add_argument("--backlog", type=int, default=100_000, help="of notifications (100000)")
    parser.add_argument("--size-bytes", type=int, default=20480, help="of a report and of a call (20480)")
    parser.add_argument("--window-s", type=float, default=10, help="between two lines (10)")
    parser.add_argument("--latency-s", type=float, default=0, help="of the API (0)")
    parser.add_argument("--prefetch", type=int, default=64, help="deliveries in hand (64)")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
