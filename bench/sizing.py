"""What a call costs each role and the broker, by its size, the API's latency and the pace: `python -m bench.sizing`.

All roles run as shipped, each in a process of its own, beside a broker of their own; calls end at a steady pace. Told
are milliseconds of processor a call, and megabytes in memory (PSS). The two databases are SQLite's.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from bench.bodies import PLACE, report_of
from bench.rig import pids_of, pss_mb, spent_s
from worker.broker.watch import depths, opened
from worker.simulate.processes import Role
from worker.simulate.rabbitmq import PrivateNode, free_ports

ROLES: Final = {
    "endpoint": ("webhook",),
    "enricher": ("consume", "enrich"),
    "ledger": ("consume", "ledger"),
    "archive": ("consume", "postcall"),
}
QUEUES: Final = ("calls.enrich.default", "calls.ledger", "calls.postcall")
SECRET: Final = "bench"
WARM_S: Final = 3.0
LOOK_EVERY_S: Final = 0.2


class Point(msgspec.Struct, frozen=True):
    """Calls of a size, an API of a latency, and how many calls end a second."""

    size_kb: int
    latency_s: float
    rate: int


BY_SIZE: Final = (Point(2, 0.05, 60), Point(20, 0.05, 60), Point(300, 0.05, 20), Point(2048, 0.05, 4))
BY_LATENCY: Final = (Point(20, 0.5, 60), Point(20, 2.0, 60))
BY_PACE: Final = (Point(20, 0.05, 5), Point(20, 0.05, 25), Point(20, 0.05, 200))


class Installation:
    """A broker, the API, and all roles at work; by name the process of each."""

    def __init__(self, node: PrivateNode, folder: Path) -> None:
        self.amqp_url = node.url
        self.pids = {"broker": node.pid}
        self._folder = folder
        self._api, self._webhook = free_ports(2)
        self.webhooks = f"http://127.0.0.1:{self._webhook}/webhooks/vapi"

    @asynccontextmanager
    async def running(self, point: Point) -> AsyncIterator["Installation"]:
        """All of it, ready."""
        async with AsyncExitStack() as stack:
            told = ("--port", self._api, "--size-bytes", point.size_kb * 1024, "--latency-s", point.latency_s)
            api = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.api", *map(str, told))
            stack.callback(api.terminate)
            for name, command in ROLES.items():
                await self._start(stack, name, command)
            yield self

    async def _start(self, stack: AsyncExitStack, name: str, command: tuple[str, ...]) -> None:
        (probes,) = free_ports(1)
        environment = self._environment() | {"AFTERCALL_ADMIN_PORT": str(probes)}
        role = Role(*command, environment=environment, log=self._folder / f"{name}.log")
        self.pids[name] = (await stack.enter_async_context(role)).pid
        await role.ready(f"http://127.0.0.1:{probes}/readyz")

    def _environment(self) -> dict[str, str]:
        return {
            "AFTERCALL_AMQP_URL": self.amqp_url,
            "AFTERCALL_VAPI_API_KEY": "bench",
            "AFTERCALL_VAPI_BASE_URL": f"http://127.0.0.1:{self._api}",
            "AFTERCALL_VAPI_RATE": "100000",
            "AFTERCALL_WEBHOOK_SECRETS": SECRET,
            "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
            "AFTERCALL_WEBHOOK_PORT": str(self._webhook),
            "AFTERCALL_SUBSCRIBERS": "ledger,postcall",
            "AFTERCALL_SPOOL_DIR": str(self._folder / "spool"),
            "AFTERCALL_LEDGER_URL": f"sqlite:///{self._folder}/ledger.db",
            "AFTERCALL_ARCHIVE_URL": f"sqlite:///{self._folder}/archive.db",
        }

    def spent_s(self) -> dict[str, float]:
        """The processor seconds so far, by name."""
        return {name: sum(map(spent_s, pids_of(pid))) for name, pid in self.pids.items()}

    def pss_mb(self) -> dict[str, float]:
        """The megabytes in memory now, by name."""
        return {name: sum(map(pss_mb, pids_of(pid))) for name, pid in self.pids.items()}

    async def end_calls(self, point: Point, seconds: float) -> int:
        """Let calls end for so long, and wait until each is in both databases; how many there were."""
        body, count = report_of(point.size_kb * 1024), int(point.rate * seconds)
        headers = {"Content-Type": "application/json", "X-Vapi-Secret": SECRET}
        async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as http, asyncio.TaskGroup() as posts:

            async def post(call_id: bytes) -> None:
                async with http.post(self.webhooks, data=body.replace(PLACE, call_id)):
                    pass

            began = time.perf_counter()
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / point.rate - time.perf_counter()))
                posts.create_task(post(b"%019d-%016d" % (time.time_ns(), number)))
        await self._settled(point.latency_s)
        return count

    async def _settled(self, latency_s: float) -> None:
        """Wait until nothing waits any more; what is in hand then is the last, and too little to count."""
        await asyncio.sleep(latency_s + LOOK_EVERY_S)
        async with opened(self.amqp_url) as channel:
            while any((await depths(channel, QUEUES)).values()):  # noqa: ASYNC110  # a queue tells only who asks
                await asyncio.sleep(LOOK_EVERY_S)


async def measure(point: Point, seconds: float) -> None:
    """Measure one point, and print it."""
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as name:
        async with PrivateNode() as node, Installation(node, Path(name)).running(point) as at:
            await at.end_calls(point, WARM_S)
            before = at.spent_s()
            count = await at.end_calls(point, seconds)
            after, memory = at.spent_s(), at.pss_mb()
    figures = {who: f"{(after[who] - before[who]) * 1000 / count:.2f} ms {memory[who]:.0f} MB" for who in after}
    print(f"{point.size_kb:>5} KB {point.latency_s:>5} s {point.rate:>4}/s {figures}", flush=True)


async def run(given: argparse.Namespace) -> None:
    """Measure all points, one after the other."""
    for _ in range(given.repeats):
        for point in (*BY_SIZE, *BY_LATENCY, *BY_PACE):
            await measure(point, given.seconds)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of calls at each point (10)")
    parser.add_argument("--repeats", type=int, default=1, help="(1)")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
