"""What the benches of single roles share: the settings of a run, its API, and what a process costs."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from worker.simulate.processes import Role
from worker.simulate.rabbitmq import free_ports

TICKS_S: Final = os.sysconf("SC_CLK_TCK")


def spent_s(pid: int) -> float:
    """The processor seconds of a process so far; 0 of one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_S
    return 0.0


def pids_of(pid: int) -> list[int]:
    """A process and all that it started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid, *(each for child in children for each in pids_of(child))]


def pss_mb(pid: int) -> float:
    """What a process has in memory now, in MB; of what it shares with others, its part. 0 of one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), 0.0)
    return 0.0


def rss_mb(pid: int) -> float:
    """What a process has in memory now, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Rig:
    """The broker, the API and the settings for the roles of one run."""

    def __init__(self, amqp_url: str, folder: Path, given: argparse.Namespace) -> None:
        self.amqp_url, self.folder, self.given = amqp_url, folder, given
        self.probes, self.api = free_ports(2)
        self.environment = {
            "AFTERCALL_AMQP_URL": amqp_url,
            "AFTERCALL_VAPI_API_KEY": "bench",
            "AFTERCALL_VAPI_BASE_URL": f"http://127.0.0.1:{self.api}",
            "AFTERCALL_VAPI_RATE": "100000",
            "AFTERCALL_PREFETCH": str(given.prefetch),
            "AFTERCALL_WEBHOOK_SECRETS": "bench",
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


@asynccontextmanager
async def enriching(rig: Rig) -> AsyncIterator[Role]:
    """An enricher at work, and the API that it asks."""
    size = str(rig.given.size_bytes)
    told = ("--port", str(rig.api), "--size-bytes", size, "--latency-s", str(rig.given.latency_s))
    api = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.api", *told)
    try:
        async with rig.role("consume", "enrich") as role:
            yield role
    finally:
        api.terminate()
        await api.wait()
