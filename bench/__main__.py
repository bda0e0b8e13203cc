"""Measure webhooks accepted and calls enriched a second, by the roles as shipped, with everything switched on."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from worker.broker.watch import depths, opened
from worker.simulate.processes import Role
from worker.simulate.rabbitmq import find_broker, free_ports

QUEUE: Final = "calls.enrich.default"
TICKS_S: Final = os.sysconf("SC_CLK_TCK")


def spent_s(pid: int) -> float:
    """The processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def rss_mb(pid: int) -> float:
    """What a process has in memory now, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Rig:
    """The broker, the API and the settings for the roles of one run."""

    def __init__(self, amqp_url: str, folder: Path, given: argparse.Namespace) -> None:
        self.amqp_url, self.folder, self.given = amqp_url, folder, given
        self.webhook, self.probes, self.api = free_ports(3)
        self.environment = {
            "AFTERCALL_AMQP_URL": amqp_url,
            "AFTERCALL_VAPI_API_KEY": "bench",
            "AFTERCALL_VAPI_BASE_URL": f"http://127.0.0.1:{self.api}",
            "AFTERCALL_VAPI_RATE": "100000",
            "AFTERCALL_PREFETCH": str(given.prefetch),
            "AFTERCALL_WEBHOOK_SECRETS": "bench",
            "AFTERCALL_WEBHOOK_PORT": str(self.webhook),
            "AFTERCALL_ADMIN_PORT": str(self.probes),
            "AFTERCALL_SUBSCRIBERS": "postcall",
            "AFTERCALL_SPOOL_DIR": str(folder / "spool"),
        }

    @asynccontextmanager
    async def role(self, *command: str) -> AsyncIterator[Role]:
        """A role that is ready."""
        async with Role(*command, environment=self.environment, log=self.folder / f"{command[0]}.log") as role:
            await role.ready(f"http://127.0.0.1:{self.probes}/readyz")
            yield role

    async def backlog(self) -> int:
        """The notifications that wait to be enriched."""
        async with opened(self.amqp_url) as channel:
            return (await depths(channel, (QUEUE,)))[QUEUE]


async def load(*arguments: str) -> asyncio.subprocess.Process:
    """Start `bench.load` as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", *arguments, stdout=asyncio.subprocess.PIPE
    )


async def measure_webhooks(rig: Rig) -> dict[str, Any]:
    """Post for some seconds and see what the endpoint takes; it leaves a backlog behind."""
    size = str(rig.given.size_bytes)
    async with rig.role("webhook") as role:
        before = spent_s(role.pid)
        url = f"http://127.0.0.1:{rig.webhook}/webhooks/vapi"
        posting = (
            "--size-bytes",
            size,
            "--connections",
            str(rig.given.connections),
            "--seconds",
            str(rig.given.seconds),
        )
        poster = await load("post", "--url", url, "--secret", "bench", *posting)
        told, _ = await poster.communicate()
        figures: dict[str, Any] = json.loads(told)
        cpu_ms = (spent_s(role.pid) - before) * 1000 / max(1, figures["accepted"])
        return figures | {"cpu_ms_each": round(cpu_ms, 3), "rss_mb": round(rss_mb(role.pid))}


@asynccontextmanager
async def enriching(rig: Rig) -> AsyncIterator[Role]:
    """An enricher at work, and the API that it asks."""
    size = str(rig.given.size_bytes)
    api = await load("serve", "--port", str(rig.api), "--size-bytes", size, "--latency-s", str(rig.given.latency_s))
    try:
        async with rig.role("consume", "enrich") as role:
            yield role
    finally:
        api.terminate()
        await api.wait()


async def measure_enriching(rig: Rig) -> dict[str, Any]:
    """Work off the backlog and see how fast that goes."""
    calls = await rig.backlog()
    async with enriching(rig) as role:
        began, left, spent = time.perf_counter(), await rig.backlog(), spent_s(role.pid)
        begun_with = left
        while left:
            await asyncio.sleep(0.2)
            left = await rig.backlog()
        seconds = time.perf_counter() - began
        cpu_ms = (spent_s(role.pid) - spent) * 1000 / max(1, begun_with)
        return {
            "calls": calls,
            "per_second": round(begun_with / seconds),
            "cpu_ms_each": round(cpu_ms, 3),
            "rss_mb": round(rss_mb(role.pid)),
        }


async def run(given: argparse.Namespace) -> None:
    """Measure several times and print each run, then the medians."""
    runs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder:
            async with find_broker({}, tell=print) as broker:
                rig = Rig(broker.url, Path(folder), given)
                runs.append((await measure_webhooks(rig), await measure_enriching(rig)))
        print(f"webhooks {runs[-1][0]}\nenriched {runs[-1][1]}", flush=True)
    for name, of_kind in (("webhooks", [each[0] for each in runs]), ("enriched", [each[1] for each in runs])):
        medians = {key: median(figures[key] for figures in of_kind) for key in of_kind[0]}
        print(f"median of {len(runs)}: {name} {medians}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size-bytes", type=int, default=20480, help="of a report and of a call (20480)")
    parser.add_argument("--connections", type=int, default=64, help="that post at a time (64)")
    parser.add_argument("--seconds", type=float, default=5, help="of posting (5)")
    parser.add_argument("--latency-s", type=float, default=0, help="of the API (0)")
    parser.add_argument("--prefetch", type=int, default=64, help="deliveries in hand (64)")
    parser.add_argument("--repeats", type=int, default=3, help="(3)")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
