"""The figures of a comparison: kept as JSON, told as a Markdown table."""

import os
import platform
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench.compare.contestants import CONTESTANTS, OURS, REFERENCE
from bench.compare.measuring import Figures
from bench.compare.phases import PHASES, SHORT, Figure
from bench.compare.quiet import STOLEN

NONE: Final = "-"
FILE: Final = "performance.json"
LIBRARIES: Final = ("aiohttp", "aio-pika", "orjson", "uvloop")


class Results(msgspec.Struct):
    """All that was measured: by phase, figure and contestant the values of the repeats."""

    machine: str
    seconds: int
    long_backlog: int
    values: dict[str, dict[str, dict[str, list[float]]]] = {}

    def add(self, phase: str, who: str, figures: Figures) -> None:
        """Keep what one measurement found."""
        for key, value in figures.items():
            self.values.setdefault(phase, {}).setdefault(key, {}).setdefault(who, []).append(round(value, 4))

    def of(self, phase: str, key: str, who: str) -> list[float]:
        """The values of the repeats; none if it was not measured."""
        return self.values.get(phase, {}).get(key, {}).get(who, [])

    @property
    def repeats(self) -> str:
        """How often each was measured: some phases may have been more often than others."""
        every = (values for by_key in self.values.values() for by_who in by_key.values() for values in by_who.values())
        counts = {len(values) for values in every}
        return " to ".join(str(each) for each in sorted({min(counts, default=0), max(counts, default=0)}))


def with_others(results: Results, folder: Path, phases: Collection[str]) -> Results:
    """The same, with what the folder holds of phases not measured now, if they were on such a machine and as long."""
    path = folder / FILE
    found = msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else results
    if (found.machine, found.seconds, found.long_backlog) == (results.machine, results.seconds, results.long_backlog):
        results.values |= {phase: by_key for phase, by_key in found.values.items() if phase not in phases}
    return results


def machine(rabbitmq: str) -> str:
    """What it was measured on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{os.cpu_count()} processors ({_processor()}), shared by contestant, broker, load and API; "
        f"Python {platform.python_version()}, RabbitMQ {rabbitmq}, one node; {libraries}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def markdown(results: Results) -> str:
    """The table, what it was measured on, and what a second worker and a long backlog do."""
    lines = [
        f"Medians of {results.repeats}, of {results.seconds} s each; x is against the plain reference; in brackets",
        "stand least and most.",
        f"Measured on {results.machine}.",
        _noise(results),
        "",
        f"| | {' | '.join(each.title for each in CONTESTANTS.values())} |",
        f"|---{'|---' * len(CONTESTANTS)}|",
        *(
            _line(results, phase.name, figure)
            for phase in PHASES
            if phase.name in results.values and not phase.is_ours_alone
            for figure in phase.figures
        ),
    ]
    return "\n".join([*lines, *_two(results), *_backlog(results)])


def _noise(results: Results) -> str:
    """How much of the processors others had meanwhile."""
    every = [
        each for by_key in results.values.values() for values in by_key.get(STOLEN, {}).values() for each in values
    ]
    if not every:
        return ""
    return f"Others had {median(every):.1f} % of the processors meanwhile (median), at most {max(every):.0f} %."


def _line(results: Results, phase: str, figure: Figure) -> str:
    cells = (_cell(results, phase, figure, who) for who in CONTESTANTS)
    return f"| {figure.title} | {' | '.join(cells)} |"


def _cell(results: Results, phase: str, figure: Figure, who: str) -> str:
    values, base = results.of(phase, figure.key, who), results.of(phase, figure.key, REFERENCE)
    if not values:
        return NONE
    middle, least, most = (f"{each:,.{figure.digits}f}" for each in (median(values), min(values), max(values)))
    ratio = f" x {median(values) / median(base):.2f}" if base and who != REFERENCE else ""
    return f"**{middle}**{ratio} ({least} to {most})"


def _two(results: Results) -> list[str]:
    """How two workers compare with one."""
    if not (found := _medians(results, "two", "one_rate", "rate", "one_cpu_ms", "cpu_ms")):
        return []
    one, two, one_ms, two_ms = found
    ratios = _ratios(results, "two", "rate", "one_rate")
    return [
        "",
        f"Two enrichers do {two:,.0f} calls a second where one does {one:,.0f}: x {ratios}, at {two_ms:.2f} ms",
        f"of processor a call instead of {one_ms:.2f}.",
    ]


def _backlog(results: Results) -> list[str]:
    """How the start of a long backlog compares with that of a short one."""
    if not (found := _medians(results, "backlog", "short_rate", "rate", "short_pss_mb", "pss_mb")):
        return []
    short, long, short_mb, long_mb = found
    return [
        "",
        f"With {results.long_backlog:,} calls waiting the enricher does {long:,.0f} a second in {long_mb:,.0f} MB;",
        f"with {SHORT:,} waiting, {short:,.0f} in {short_mb:,.0f} MB:",
        f"x {_ratios(results, 'backlog', 'rate', 'short_rate')} the rate and x",
        f"{long_mb / short_mb:.2f} the memory.",
    ]


def _medians(results: Results, phase: str, *keys: str) -> list[float]:
    """Those of Aftercall, or none if it was not measured."""
    every = [results.of(phase, key, OURS.name) for key in keys]
    return [median(each) for each in every] if all(every) else []


def _ratios(results: Results, phase: str, key: str, base: str) -> str:
    """The median of the rounds' ratios, and their least and most."""
    both = zip(results.of(phase, key, OURS.name), results.of(phase, base, OURS.name), strict=True)
    every = [value / other for value, other in both]
    return f"{median(every):.2f} ({min(every):.2f} to {max(every):.2f})"
