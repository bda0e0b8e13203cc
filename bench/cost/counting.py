"""The cost of a call in counts, and the one that was kept to compare with."""

import json
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from bench.cost.measuring import ROLES, Part, Wanted, measure

TOP: Final = 15
KEPT: Final = Path(__file__).with_name("cost.json")


class Cost(msgspec.Struct, frozen=True):
    """Per call: instructions of Python's bytecode by function, and calls of C functions by name."""

    instructions: dict[str, float]
    c_calls: dict[str, float]

    @property
    def total(self) -> float:
        """All instructions of a call."""
        return sum(self.instructions.values())

    def __str__(self) -> str:
        """Where most of them are."""
        called = ", ".join(f"{name} {count:g}" for name, count in _most(self.c_calls))
        return f"{_told(self.total, self.instructions)}\nCalled in C: {called}"

    def beside(self, kept: "Cost") -> str:
        """What has grown since."""
        names = self.instructions.keys() | kept.instructions.keys()
        grown = {name: self.instructions.get(name, 0) - kept.instructions.get(name, 0) for name in names}
        more = _told(self.total - kept.total, grown, sign="+")
        return f"{self.total:,.0f} instructions a call\n{more} more than were kept"


def _told(total: float, counts: dict[str, float], sign: str = "") -> str:
    return "\n".join(f"{count:{sign}10,.0f}  {name}" for name, count in [*_most(counts), ("in all", total)])


def _most(counts: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(counts.items(), key=lambda each: -each[1])[:TOP]


async def count(part: Part, *, calls: int = 50, size_bytes: int = 20480) -> Cost:
    """Count what calls of that size cost, one after the other."""
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder:
        report = await measure(Wanted(part, calls=calls, size_bytes=size_bytes), Path(folder))
        found = json.loads(report.read_text())
    return Cost(*({name: number / calls for name, number in found[key].items()} for key in ("instructions", "c_calls")))


def kept_costs() -> dict[Part, Cost]:
    """What a call cost when that was last looked at and found right."""
    return msgspec.json.decode(KEPT.read_bytes(), type=dict[Part, Cost])


async def keep() -> None:
    """Count all parts anew, and keep that to be compared with."""
    costs = {part: await count(part) for part in ROLES}
    rounded = {part: Cost(_rounded(cost.instructions), _rounded(cost.c_calls)) for part, cost in costs.items()}
    KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(rounded), indent=1) + b"\n")


def _rounded(counts: dict[str, float]) -> dict[str, float]:
    """What comes with every call; the rest is chance. The same counts make the same file."""
    return {name: round(number) for name, number in sorted(counts.items()) if round(number)}
