"""What one call costs the enricher, or one webhook the endpoint, whole and as shipped, with nothing else beside it.

Broker and API come from memory. Counted are instructions of Python's bytecode, call by call: the same on any machine,
however busy. `--how time` and `--how profile` tell whether a change is felt, with many calls at once.
"""

import argparse
import asyncio
import json
import pstats
import tempfile
from pathlib import Path

from bench.cost.counting import count, keep
from bench.cost.measuring import ROLES, Wanted, measure


async def _print(wanted: Wanted) -> None:
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder:
        if wanted.how == "count":
            print(await count(wanted.part, calls=wanted.calls, size_bytes=wanted.size_bytes))
            return
        report = await measure(wanted, Path(folder))
        if wanted.how == "profile":
            pstats.Stats(str(report)).sort_stats("tottime").print_stats(60)
            return
        print(f"{json.loads(report.read_text())['seconds'] / wanted.calls * 1e6:,.0f} us of processor a call")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("part", choices=[*ROLES, "keep"], help="`keep` counts both, for the test to compare with")
    parser.add_argument("--how", choices=["count", "time", "profile"], default="count", help="(count)")
    parser.add_argument("--calls", type=int, help="(50 to count, 5000 else)")
    parser.add_argument("--at-once", type=int, default=64, help="but to count, which is one after the other (64)")
    parser.add_argument("--size-bytes", type=int, default=20480, help="of a report and of a call (20480)")
    given = parser.parse_args()
    if given.part == "keep":
        asyncio.run(keep())
        return
    calls = given.calls or (50 if given.how == "count" else 5000)
    asyncio.run(_print(Wanted(given.part, given.how, calls, given.at_once, given.size_bytes)))


if __name__ == "__main__":
    main()
