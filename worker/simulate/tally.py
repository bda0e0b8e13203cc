"""The account of a run: what ended at Vapi against what came out, by call id."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from consumers.enriched import AMENDED, ENRICHED
from consumers.messages import OURS


class Letter(msgspec.Struct, frozen=True):
    """A dead letter: whose call it is, if it is known, where it failed, and why."""

    call_id: str
    queue: str
    reason: str


class Tally(msgspec.Struct):
    """What was seen to pass. An event that passes twice under one `ce-id` is a duplicate, which subscribers drop."""

    came_in: int = 0
    enriched: dict[str, bool] = {}
    """Call id to whether its latest event is complete."""
    amended: set[str] = set()
    results: Counter[str] = Counter()
    event_ids: set[str] = set()
    duplicates: int = 0

    def see(self, routing_key: str, headers: Mapping[str, Any], call_id: str, *, is_complete: bool) -> None:
        """Take in one message that passed `calls`."""
        kind, words = ".".join(routing_key.split(".")[:2]), routing_key.split(".")
        if kind == "call.ended":
            self.came_in += 1
        if kind not in (ENRICHED, AMENDED):
            return
        event_id = str(headers.get("ce-id"))
        self.duplicates += event_id in self.event_ids
        self.event_ids.add(event_id)
        if call_id not in self.enriched:
            self.results[words[3]] += 1
        self.enriched[call_id] = self.enriched.get(call_id, False) or is_complete
        if kind == AMENDED:
            self.amended.add(call_id)

    @property
    def incomplete(self) -> int:
        """The calls of which only an incomplete event went out so far."""
        return sum(not is_complete for is_complete in self.enriched.values())

    def missing(self, ended: set[str], letters: list[Letter]) -> set[str]:
        """The calls that ended and are neither enriched nor dead: there must be none."""
        return ended - self.enriched.keys() - {letter.call_id for letter in letters}


def letter_of(headers: Mapping[str, Any], call_id: str, queue: str) -> Letter:
    """What the headers of a dead letter tell; one that the broker put there tells nothing of itself."""
    return Letter(call_id, str(headers.get(f"{OURS}queue", queue)), str(headers.get(f"{OURS}reason", "delivery-limit")))
