"""The account of a drill: what ended and what was answered for, against what came out and what lies where."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from worker.simulate.account import EndedCall
from worker.simulate.drill.subscriber import Subscriber
from worker.simulate.tally import Letter
from worker.simulate.webhooks import FORGED_REPORT, REPEATED_REPORT, REPORT


class Struck(msgspec.Struct, frozen=True):
    """One blow that fell: when (seconds since the load began), how long it took, and why if it could not be done."""

    fault: str
    at_s: float
    took_s: float
    error: str = ""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """How a drill ended. The lists at the end are of calls (or blows) in breach of the promise: all must be empty."""

    seed: int
    seconds: float
    struck: list[Struck]
    ended: int
    never_sent: int
    """Of those, the calls of which Vapi sends no report at all."""
    unknowable: int
    """Of those, the calls whose one report was not answered with 200, and that Vapi's API does not know either."""
    accepted: int
    refused: dict[str, int]
    """Reports not answered with 200, by the answer."""
    enriched: int
    incomplete: int
    amended: int
    attempts_max: int
    duplicates: int
    """Events that came again under an old `ce-id`."""
    again: int
    """Calls of which something else was told later, under another `ce-id`: amendments, and other reports' content."""
    places: dict[str, int]
    """What lies in a place with a name, by place and reason."""
    replayed: int
    swept: int
    unaccounted: int
    """What a second sweep still found unaccounted for."""
    spooled: int
    lost: list[str]
    """Calls answered with 200 that, before the sweep, a subscriber did not have, nor any place with a name."""
    missing: list[str]
    """Calls that ended and that, after the sweep, a subscriber does not have, nor any place with a name."""
    unfinished: list[str]
    """Calls that went out incomplete and were never amended, though Vapi has all of them."""
    not_in_ledger: list[str]
    disguised: list[str]
    """Calls of which the same content came under two `ce-id`s."""
    invented: list[str]
    """Calls at the subscriber that never were."""
    forged: list[str]
    """Calls of which a forged report was taken."""

    @property
    def breaches(self) -> dict[str, list[str]]:
        """The lists that are not empty, by name."""
        names = ("lost", "missing", "unfinished", "not_in_ledger", "disguised", "invented", "forged")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    @property
    def adds_up(self) -> bool:
        """Whether not a single call is missing, and nothing else is amiss."""
        return not self.breaches and not self.unaccounted and not self.spooled


def accepted(calls: Iterable[EndedCall]) -> set[str]:
    """The calls of which a report was answered with 200."""
    return {call.outline.id for call in calls if _has_answer(call, (REPORT, REPEATED_REPORT))}


def findable(calls: Iterable[EndedCall]) -> set[str]:
    """The calls that a sweep can find: those that the API knows."""
    return {call.outline.id for call in calls if not call.faults.is_gone}


def forged(calls: Iterable[EndedCall]) -> list[str]:
    """The calls of which a forged report was answered with 200."""
    return sorted(call.outline.id for call in calls if _has_answer(call, (FORGED_REPORT,)))


def refused(calls: Iterable[EndedCall]) -> dict[str, int]:
    """How many reports were not answered with 200, by what they were answered."""
    answers = (
        str(sent.status or "none")
        for call in calls
        for sent in call.webhooks
        if sent.kind in (REPORT, REPEATED_REPORT) and sent.status != 200  # noqa: PLR2004
    )
    return dict(Counter(answers))


def of_subscriber(subscriber: Subscriber) -> dict[str, int]:
    """What the subscriber saw, as the fields of the account."""
    calls = subscriber.calls.values()
    return {
        "enriched": len(calls),
        "incomplete": sum(not seen.is_complete for seen in calls),
        "amended": sum(seen.amended for seen in calls),
        "attempts_max": max((seen.attempts_max for seen in calls), default=0),
        "duplicates": subscriber.duplicates,
        "again": sum(len(seen.events) > 1 for seen in calls),
    }


def of_places(letters: Iterable[Letter]) -> dict[str, int]:
    """What lies where, by place and reason."""
    return dict(Counter(f"{letter.queue}: {letter.reason}" for letter in letters))


def _has_answer(call: EndedCall, kinds: tuple[str, ...]) -> bool:
    return any(sent.kind in kinds and sent.status == 200 for sent in call.webhooks)  # noqa: PLR2004
