"""Durations as people write them: `90s`, `15m`, `24h`, `7d`."""

import re
from typing import Final

from worker.settings import SettingsError

UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds_of(text: str, option: str) -> float:
    """The seconds of a duration. Raises `SettingsError` naming the option for anything else."""
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise SettingsError([f"{option} {text}: a duration is a number and one of s, m, h, d, such as 24h"])
    return float(match[1]) * UNITS_S[match[2]]
