"""Instants: seconds since the epoch inside, ISO 8601 in UTC with milliseconds outside."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

LONGEST: Final = 64
"""Longer than any text that names an instant, and short enough to be remembered."""


@lru_cache(maxsize=256)
def iso(instant: float) -> str:
    """`2026-08-31T17:05:55.477Z`, as Vapi writes its times."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(value: Any) -> float | None:
    """The instant an ISO 8601 text names, or None for anything else; without a zone it is UTC."""
    return _instant(value) if isinstance(value, str) and len(value) <= LONGEST else None


@lru_cache(maxsize=256)
def _instant(value: str) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        # In UTC first: beside the years 1 and 9999 a zone can name an instant that `iso` could not write.
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def instant_of_epoch(value: Any) -> float | None:
    """The instant of a number of seconds or milliseconds since the epoch; above 1e12 it counts milliseconds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        return None
    return value / 1000 if value > 1e12 else float(value)  # noqa: PLR2004  # seconds reach it in the year 33658
