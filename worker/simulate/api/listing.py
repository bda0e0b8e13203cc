"""The filters of `GET /call`, as documented: times of creation and of the last change, identities, a limit."""

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import ge, gt, le, lt

from worker.simulate.account import EndedCall
from worker.simulate.script.outlines import PHONE_NUMBER_ID, to_milliseconds

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {"Gt": gt, "Lt": lt, "Ge": ge, "Le": le}
_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000
_MILLISECOND_S = 0.001
_IDENTITIES = ("id", "assistantId", "phoneNumberId")


@dataclass(frozen=True, slots=True)
class Listing:
    """One request of the list: what must be equal, which times must compare, and how many calls at most."""

    identities: dict[str, str]
    bounds: tuple[tuple[str, str, float], ...]
    limit: int

    @property
    def updated_between(self) -> tuple[float, float]:
        """Between which instants (epoch seconds) the filters want the last change, and a millisecond more."""
        bounds = [(how, at) for name, how, at in self.bounds if name == "updatedAt"]
        since = max((at for how, at in bounds if how.startswith("G")), default=-math.inf)
        until = min((at for how, at in bounds if how.startswith("L")), default=math.inf)
        return since - _MILLISECOND_S, until + _MILLISECOND_S

    def choose(self, calls: Iterable[EndedCall], now: float) -> list[EndedCall]:
        """Return the calls that match at `now` (epoch seconds), newest first."""
        matching = (call for call in calls if call.is_visible(now) and self._matches(call, now))
        return heapq.nlargest(self.limit, matching, key=lambda call: call.outline.created_at)

    def _matches(self, call: EndedCall, now: float) -> bool:
        times = {
            "createdAt": to_milliseconds(call.outline.created_at),
            "updatedAt": to_milliseconds(call.updated_at(now)),
        }
        is_within = all(_COMPARISONS[how](times[name], bound) for name, how, bound in self.bounds)
        return is_within and all(_identity(call, name) == value for name, value in self.identities.items())


def parse_listing(query: Mapping[str, str]) -> Listing:
    """Read the query of a list request; parameters that Vapi does not document have no effect.

    Raises `ValueError` with the message of Vapi's 400.
    """
    identities = {name: query[name] for name in _IDENTITIES if name in query}
    return Listing(identities, tuple(_parse_bounds(query)), _parse_limit(query.get("limit", str(_DEFAULT_LIMIT))))


def _parse_bounds(query: Mapping[str, str]) -> Iterable[tuple[str, str, float]]:
    for name in ("createdAt", "updatedAt"):
        for how in _COMPARISONS:
            if name + how in query:
                yield name, how, _parse_time(name + how, query[name + how])


def _parse_time(name: str, text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} must be a valid ISO 8601 date string") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _parse_limit(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("limit must be a number conforming to the specified constraints")
    if int(text) > _MAX_LIMIT:
        raise ValueError(f"limit must not be greater than {_MAX_LIMIT}")
    return int(text)


def _identity(call: EndedCall, name: str) -> str | None:
    outline = call.outline
    known = {"id": outline.id, "assistantId": outline.assistant_id}
    return known.get(name, PHONE_NUMBER_ID if outline.is_phone_call else None)
