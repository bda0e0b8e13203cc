"""The simulated account: the calls that ended, what was sent about each, and how its fetches were answered."""

import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from worker.simulate.faults import CallFaults
from worker.simulate.script.outlines import Outline, iso


class Stage(StrEnum):
    """How far Vapi has come with a call that ended."""

    IN_PROGRESS = "in-progress"
    UNFINISHED = "unfinished"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class SentWebhook:
    """One webhook and its last answer; `status` is None when none came, `tries` counts the posts, from 1."""

    kind: str
    status: int | None
    error: str
    tries: int


@dataclass(slots=True)
class EndedCall:
    """A call that ended, in outline, with its story: `served` counts the fetches that came past every 404."""

    outline: Outline
    faults: CallFaults
    planned: tuple[str, ...]
    webhooks: list[SentWebhook] = field(default_factory=list)
    fetches: Counter[int] = field(default_factory=Counter)
    served: int = 0

    def is_visible(self, now: float) -> bool:
        """Vapi admits to know the call at `now` (epoch seconds)."""
        return not self.faults.is_gone and now - self.outline.ended_at >= self.faults.not_found_s

    def stage(self, now: float) -> Stage:
        """Return how far Vapi has come with the call at `now` (epoch seconds)."""
        age_s = now - self.outline.ended_at
        if age_s < self.faults.in_progress_s:
            return Stage.IN_PROGRESS
        return Stage.UNFINISHED if age_s < self.faults.unfinished_s else Stage.FINAL

    def updated_at(self, now: float) -> float:
        """Return when Vapi last changed the call, seen from `now` (both epoch seconds)."""
        match self.stage(now):
            case Stage.IN_PROGRESS:
                return self.outline.started_at or self.outline.created_at
            case Stage.UNFINISHED:
                return self.outline.ended_at + self.faults.in_progress_s
            case Stage.FINAL:
                return self.outline.ended_at + self.faults.unfinished_s

    @property
    def final_at(self) -> float:
        """When Vapi changes the call for the last time (epoch seconds): never before any other change of it."""
        return self.updated_at(math.inf)

    def tell(self) -> dict[str, Any]:
        """Return the call's story as JSON, for the control door."""
        return {
            "id": self.outline.id,
            "number": self.outline.number,
            "endedAt": iso(self.outline.ended_at),
            "endedReason": self.outline.ending.reason,
            "zeroDataRetention": self.outline.is_zero_data_retention,
            "faults": self.faults.names,
            "planned": self.planned,
            "webhooks": [
                {"kind": sent.kind, "status": sent.status, "error": sent.error, "tries": sent.tries}
                for sent in self.webhooks
            ],
            "fetches": {str(status): count for status, count in self.fetches.items()},
        }


class Account:
    """Every call that ended, by id, in the order of ending; it grows by about 2 KB with each."""

    def __init__(self) -> None:
        self.calls: dict[str, EndedCall] = {}
        self.answers: Counter[int] = Counter()
        self._by_final_at: list[EndedCall] = []

    def add(self, call: EndedCall) -> None:
        """Enter a call that ended."""
        self.calls[call.outline.id] = call
        insort(self._by_final_at, call, key=_final_at)

    def updated_between(self, since: float, until: float, now: float) -> list[EndedCall]:
        """Return all calls that were updated then, seen from `now`, and a few others, without a look at the rest."""
        calls = self._by_final_at
        after = bisect_right(calls, until, key=_final_at)
        young = bisect_left(calls, now, lo=after, key=_final_at)  # what is not final yet may have any time before
        return [*calls[bisect_left(calls, since, key=_final_at) : after], *calls[young:]]

    def tell(self) -> dict[str, Any]:
        """Return the whole account as JSON: each call's story, and all answers of the API by status."""
        return {
            "ended": len(self.calls),
            "answers": {str(status): count for status, count in self.answers.items()},
            "calls": [call.tell() for call in self.calls.values()],
        }


def _final_at(call: EndedCall) -> float:
    return call.final_at
