"""Faults of the simulated Vapi: how often each happens, and which befall a given call."""

import random
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from worker.simulate.script.outlines import happens, stream

_EVERYTHING = "everything"
_SERVER_ERRORS = (500, 502, 521, 524)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often each fault befalls a call: rates from 0 to 1.

    Raises `ValueError` for a rate outside of them.
    """

    late: float = 0.0
    not_found: float = 0.0
    rate_limited: float = 0.0
    server_error: float = 0.0
    slow: float = 0.0
    truncated: float = 0.0
    gone: float = 0.0
    dropped: float = 0.0
    doubled: float = 0.0
    out_of_order: float = 0.0
    bad_credentials: float = 0.0
    lone_surrogate: float = 0.0

    def __post_init__(self) -> None:
        for name in fault_names():
            rate = getattr(self, name)
            if not 0.0 <= rate <= 1.0:
                raise ValueError(f"the rate of {name} is {rate:g}; it lies between 0 and 1")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `late=0.1,truncated=0.05`; `everything=0.1` stands for all that are not named.

        Raises `ValueError`, naming the known faults, for a name that is none of them or a rate that is no number.
        """
        rates = dict(_parse_rate(part) for part in text.split(",") if part.strip())
        return replace(cls.everything(rates.pop(_EVERYTHING, 0.0)), **rates)

    @classmethod
    def everything(cls, rate: float) -> Self:
        """Let every fault happen at the same rate."""
        return cls(**dict.fromkeys(fault_names(), rate))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFaults:
    """What befalls one call. Seconds count from the call's end; the counted faults hit its first fetches."""

    names: tuple[str, ...] = ()
    in_progress_s: float = 0.0
    unfinished_s: float = 0.0
    not_found_s: float = 0.0
    rate_limits: int = 0
    server_errors: tuple[int, ...] = ()
    truncations: int = 0
    slow_s: float = 0.0
    report_delay_s: float = 0.0
    is_gone: bool = False
    is_dropped: bool = False
    is_doubled: bool = False
    is_noisy: bool = False
    is_forged: bool = False
    has_lone_surrogate: bool = False

    def paced(self, scale: float) -> "CallFaults":
        """Return the same faults with every duration multiplied by `scale`: tests are short of time."""
        seconds = {field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith("_s")}
        return replace(self, **{name: value * scale for name, value in seconds.items()})


def fault_names() -> tuple[str, ...]:
    """Return the names of all faults."""
    return tuple(field.name for field in fields(Faults))


def plan(faults: Faults, seed: int, number: int) -> CallFaults:
    """Decide what befalls call `number` of a seed.

    Each fault is drawn for itself, so that changing one rate moves no other fault to another call. The webhook of a
    call that is gone at the API is always sent, or nobody could ever have known of that call.
    """
    planned = CallFaults()
    for name in (name for name in fault_names() if getattr(faults, name) > 0):
        rng = stream(seed, number, name)
        if happens(rng, getattr(faults, name)) and not (name == "dropped" and planned.is_gone):
            planned = replace(planned, names=(*planned.names, name), **_consequences(name, rng))
    return planned


def _consequences(name: str, rng: random.Random) -> dict[str, Any]:
    """Draw what a fault does; each is a few seconds or the first one or two fetches at most."""
    match name:
        case "late":
            in_progress_s = rng.choice((0.0, rng.uniform(0.5, 2)))
            return {"in_progress_s": in_progress_s, "unfinished_s": in_progress_s + rng.uniform(1, 4)}
        case "server_error":
            return {"server_errors": tuple(rng.choices(_SERVER_ERRORS, k=rng.randint(1, 2)))}
        case "out_of_order":
            return {"is_noisy": True, "report_delay_s": rng.uniform(0.1, 3)}
        case _:
            return _simple_consequence(name, rng)


def _simple_consequence(name: str, rng: random.Random) -> dict[str, Any]:
    simple: dict[str, tuple[str, float | int | bool]] = {
        "not_found": ("not_found_s", rng.uniform(1, 5)),
        "rate_limited": ("rate_limits", rng.randint(1, 2)),
        "truncated": ("truncations", rng.randint(1, 2)),
        "slow": ("slow_s", rng.uniform(1, 4)),
        "gone": ("is_gone", True),
        "dropped": ("is_dropped", True),
        "doubled": ("is_doubled", True),
        "bad_credentials": ("is_forged", True),
        "lone_surrogate": ("has_lone_surrogate", True),
    }
    field, value = simple[name]
    return {field: value}


def _parse_rate(part: str) -> tuple[str, float]:
    name, _, rate = (piece.strip() for piece in part.partition("="))
    known = ", ".join(fault_names())
    if name not in (*fault_names(), _EVERYTHING):
        raise ValueError(f"{name!r} is no fault; the faults are {known}, and {_EVERYTHING}")
    try:
        return name, float(rate)
    except ValueError:
        raise ValueError(
            f"{part.strip()!r} is not like {name}=0.1; the faults are {known}, and {_EVERYTHING}"
        ) from None
