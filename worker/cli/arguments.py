"""Arguments as people write them: flags, numbers, and durations such as `90s`, `15m`, `24h`, `7d`."""

import re
from typing import Annotated, Final

from cyclopts import Parameter, validators

from consumers.timestamps import instant
from worker.cli.exit_codes import WrongArguments

Flag = Annotated[bool, Parameter(negative="")]
Count = Annotated[int, Parameter(validator=validators.Number(gt=0))]
Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]

UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds_of(text: str, option: str) -> float:
    """The seconds of a duration. Raises `WrongArguments` naming the option for anything else."""
    if (seconds := _seconds(text)) is None:
        raise WrongArguments(f"{option} {text}: a duration is a number and one of s, m, h, d, such as 24h")
    return seconds


def moment_of(text: str, option: str, now: float) -> float:
    """The epoch seconds of a time, or of so long before `now`. Raises `WrongArguments` naming the option."""
    at, seconds = instant(text), _seconds(text)
    if at is None and seconds is None:
        raise WrongArguments(f"{option} {text}: a duration such as 24h, or a time such as 2026-08-31T17:00:00Z")
    return now - (seconds or 0) if at is None else at


def _seconds(text: str) -> float | None:
    match = DURATION.fullmatch(text.strip())
    return float(match[1]) * UNITS_S[match[2]] if match else None
