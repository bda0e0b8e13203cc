"""What the sweep makes of the calls that Vapi lists: which have ended, and the notification that nobody sent of one."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from consumers.merge import IDENTITY
from consumers.messages import CALL_ID, END_OF_CALL_REPORT
from consumers.timestamps import instant
from consumers.tolerant_json import dump

SHORTEST_S: Final = 0.001
"""Vapi's times have milliseconds: no slice can be shorter."""
NOT_OF_THE_REPORT: Final = frozenset({*IDENTITY, "status", "updatedAt"})


class ListedCall(msgspec.Struct, frozen=True):
    """An ended call as Vapi lists it."""

    id: str
    ended_at: float
    updated_at: float
    call: dict[str, Any]


class Slice(msgspec.Struct, frozen=True):
    """A stretch of `updatedAt`, from `since` to before `until`: epoch seconds, on whole milliseconds as Vapi's are."""

    since: float
    until: float

    @property
    def length_s(self) -> float:
        """How long it is, in seconds."""
        return self.until - self.since

    @property
    def is_shortest(self) -> bool:
        """Whether it cannot be halved any more."""
        return self.length_s < 1.5 * SHORTEST_S

    def part(self, since: float, length_s: float) -> "Slice":
        """The part from `since` on, of about that length, but not past the end."""
        return Slice(since, min(self.until, round(since + max(length_s, SHORTEST_S), 3)))


def ended_calls(listed: Iterable[Any], *, before: float) -> Iterator[ListedCall]:
    """The calls among `listed` that ended `before` an instant; whatever is no call of Vapi's is passed over."""
    for call in listed:
        if not isinstance(call, dict) or call.get("status") != "ended":
            continue
        call_id, updated_at = call.get("id"), instant(call.get("updatedAt"))
        ended_at = instant(call.get("endedAt")) or updated_at
        if isinstance(call_id, str) and CALL_ID.fullmatch(call_id) and ended_at is not None and ended_at < before:
            yield ListedCall(call_id, ended_at, updated_at or ended_at, call)


def report_of(listed: ListedCall) -> bytes:
    """The end-of-call report of a listed call, in the shape Vapi would have sent it."""
    call = listed.call
    message = {
        "type": END_OF_CALL_REPORT,
        "timestamp": int(listed.ended_at * 1000),
        "call": {key: call[key] for key in IDENTITY if key in call},
    }
    return dump({"message": message | {key: call[key] for key in call if key not in NOT_OF_THE_REPORT}})
