"""The story of one call: what its events come to, step by step, and what will happen next."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from consumers.dead_letters import Letter
from consumers.ledger import Event
from consumers.messages import RETRY
from consumers.prospects import EMITTED, Case, Next, Rules, cause_of, each_next, named
from consumers.timestamps import instant, iso

CAME_IN: Final = {
    "webhook": "the webhook came in",
    "sweep": "the sweep found it at Vapi and sent it in: no webhook had come",
    "replay": "it was replayed",
}


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that happened. `at` is epoch seconds, `what` one word, `queues` those an emission reached."""

    at: float
    what: str
    told: str
    event_id: str = ""
    queues: tuple[str, ...] = ()


class Story(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that is known of a call in one account. `ended_at` is epoch seconds, None while nobody told."""

    account: str
    call_id: str
    outcome: str
    ended_at: float | None
    steps: tuple[Step, ...]
    next: tuple[Next, ...]


class AtVapi(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What Vapi says of a call when an account's key asks; `trouble` instead, if it could not be asked."""

    account: str
    is_known: bool = False
    status: str = ""
    ended_at: float | None = None
    ended_reason: str = ""
    trouble: str = ""


def read_at_vapi(account: str, call: Mapping[str, Any]) -> AtVapi:
    """What the Call object that Vapi answered with says."""
    return AtVapi(
        account=account,
        is_known=True,
        status=_word(call.get("status")),
        ended_at=instant(call.get("endedAt")),
        ended_reason=_word(call.get("endedReason")),
    )


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def tell(
    events: Sequence[Event],
    letters: Sequence[Letter] | None,
    rules: Rules,
    *,
    now: float,
    ended_at: float | None = None,
) -> Story:
    """The story of a call from its events, of one account and by time, and from the letters that lie there now.

    `letters` is None if nobody could look; `ended_at` is what Vapi says, for a call that has not gone out yet. There
    must be an event or a letter.
    """
    account, call_id = _whose(events, letters or ())
    told_at = next((event.ended_at for event in events if event.ended_at is not None), ended_at)
    case = Case(account, call_id, tuple(events), letters, rules, now, told_at)
    return Story(
        account=account,
        call_id=call_id,
        outcome=_outcome(events),
        ended_at=told_at,
        steps=tuple(sorted((*_arrivals(events), *_steps(case)), key=lambda step: step.at)),
        next=tuple(each_next(case)),
    )


def _whose(events: Sequence[Event], letters: Sequence[Letter]) -> tuple[str, str]:
    first = events[0] if events else letters[0]
    return first.account, first.call_id


def _outcome(events: Sequence[Event]) -> str:
    last = next((event for event in reversed(events) if event.kind in EMITTED), None)
    return f"{last.result} / {last.reason} ({last.ended_reason or 'no endedReason'})" if last else ""


def _arrivals(events: Iterable[Event]) -> Iterator[Step]:
    """When and how it came in, each notification of it once."""
    seen: set[str] = set()
    for event in events:
        if event.received_at is not None and (at := iso(event.received_at)) not in seen:
            yield Step(at=event.received_at, what="received", told=CAME_IN.get(event.source, "it came in"))
            seen.add(at)


def _steps(case: Case) -> Iterator[Step]:
    for event in case.events:
        queues = tuple(case.rules.reached(_routing_key(event))) if event.kind in EMITTED else ()
        yield Step(at=event.at, what=event.kind, told=_told(event), event_id=event.event_id, queues=queues)
    noted = {event.queue for event in case.events if event.kind == "dead"}
    for letter in case.letters or ():
        if letter.queue not in noted:  # the broker, which puts some there itself, writes no notes
            yield Step(at=letter.died_at or case.now, what="dead", told=_of_letter(letter))


def _routing_key(event: Event) -> str:
    return f"call.{event.kind}.{event.account}.{event.result}.{event.reason}"


def _told(event: Event) -> str:
    why = f": {event.detail}" if event.detail else ""
    match event.kind:
        case "enriched" | "amended":
            return _of_emission(event)
        case "retried":
            return f"attempt {event.attempt} in {event.queue}{why}; waits in {RETRY}{event.tier}"
        case "held":
            return f"held in {event.queue}, no attempt spent{why}; waits in {RETRY}{event.tier}"
        case "dead":
            return f"attempt {event.attempt} in {event.queue}: dead letter, {event.letter_reason}{why}"
        case "replayed":
            return _of_replay(event)
        case "discarded":
            return f"the letter of {event.queue} was discarded"
        case "swept":
            return "the sweep sent it in"
        case _:
            return f"{event.kind}{f' in {event.queue}' if event.queue else ''}{why}"


def _of_emission(event: Event) -> str:
    state = "complete" if event.complete else f"without {named(event.missing)}"
    origin = {"both": "from API and webhook", "api": "from the API", "webhook": "from the webhook alone"}
    parts = (
        f"version {event.version} went out, {state}",
        origin.get(event.joined_from, ""),
        f"attempt {event.attempt}",
    )
    return ", ".join(filter(None, parts))


def _of_replay(event: Event) -> str:
    if event.source == "replay":
        return f"sent from the archive to {event.to} again, {event.detail}"
    return f"the letter of {event.queue} was replayed to {event.to or event.queue}"


def _of_letter(letter: Letter) -> str:
    return f"attempt {letter.attempts} in {letter.queue}: dead letter, {cause_of(letter)}"
