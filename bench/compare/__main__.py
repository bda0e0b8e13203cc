"""Measure Aftercall, the plain reference, FastStream and Celery in turns, and write docs/performance.md's figures.

Every contestant does the same job at its own virtual host of one private RabbitMQ node: a webhook is answered once the
broker has it, and each call is fetched and published, confirmed, before it is acknowledged. Up to an hour on two cores.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bench.compare.api import Missing, install, serving
from bench.compare.broker import host_of
from bench.compare.chart import svg
from bench.compare.contestants import CONTESTANTS, HERE
from bench.compare.phases import PHASES
from bench.compare.programs import Failed
from bench.compare.quiet import quietly
from bench.compare.results import FILE, Results, machine, markdown, with_others
from bench.compare.rig import Rig
from worker.simulate.rabbitmq import PrivateNode

ANSWERS: Final = {(20, 0), (300, 0), (20, 50), (20, 200)}
BETWEEN: Final = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- until here -->)", re.DOTALL)
EX_UNAVAILABLE: Final = 69


async def compare(given: argparse.Namespace) -> None:
    """Measure, and write after each round what there is."""
    given.output_dir.mkdir(parents=True, exist_ok=True)
    await install()
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as name:
        async with PrivateNode(schedulers=None) as node:
            hosts = {each.name: await host_of(node, each) for each in CONTESTANTS.values()}
            on = machine((await node.ctl("version")).strip())
            found = Results(on, given.seconds, given.long_backlog)
            results = with_others(found, given.output_dir, given.phases)
            with serving(Path(name), ANSWERS) as api:
                rig = Rig(api, hosts, Path(name), given.seconds, given.long_backlog, node.pid)
                for _ in range(given.repeats):
                    await asyncio.to_thread(_round, rig, results, given)
                    write(results, given.output_dir)


def _round(rig: Rig, results: Results, given: argparse.Namespace) -> None:
    """Each measurement once, its contestants one after the other."""
    for phase in (each for each in PHASES if each.name in given.phases):
        for contestant in (each for each in phase.contestants if each.name in given.contestants):
            try:
                figures = quietly(partial(phase.measure, rig, contestant))
            except Failed as error:
                sys.stderr.write(f"{phase.name} of {contestant.title} failed, and is left out: {error}\n")
            else:
                results.add(phase.name, contestant.name, figures)
                print(f"{phase.name:10} {contestant.name:10} {_told(figures)}", flush=True)


def _told(figures: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:,.2f}" for key, value in figures.items())


def write(results: Results, folder: Path) -> None:
    """Put the figures into the folder's performance.md, if it has one, with the chart and the JSON beside it."""
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    (folder / "performance.svg").write_text(svg(results))
    page = folder / "performance.md"
    if page.exists():
        table = markdown(results)
        page.write_text(BETWEEN.sub(lambda _: f"{table}\n", page.read_text()))


def main() -> None:
    """Parse the command line and measure."""
    phases, every = [each.name for each in PHASES], list(CONTESTANTS)
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the median of each figure counts (3)")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement (8)")
    parser.add_argument("--long-backlog", type=int, default=100_000, help="that waits beside a short one (100000)")
    told = f"these; what the folder holds of others, measured alike, is kept: {', '.join(phases)}"
    parser.add_argument("--phases", nargs="+", default=phases, choices=phases, metavar="PHASE", help=told)
    parser.add_argument("--contestants", nargs="+", default=every, choices=every, metavar="WHO", help=", ".join(every))
    parser.add_argument("--output-dir", type=Path, default=HERE / "docs", help="of page, chart and JSON (docs/)")
    try:
        asyncio.run(compare(parser.parse_args()))
    except Missing as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EX_UNAVAILABLE)


if __name__ == "__main__":
    main()
