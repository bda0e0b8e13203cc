"""What will happen next to a call: read from the last event of each queue, and from the letters that lie there."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from consumers.dead_letters import Letter
from consumers.ledger import Event
from consumers.messages import ENRICH, RETRY
from consumers.notifications import CALL_ENDED
from consumers.timestamps import iso

LATE_S: Final = 60.0
"""How long after its tier a delivery may be on its way before one should look after its consumer."""
TIER: Final = re.compile(r"(\d{1,9})([smhd])")
UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
EMITTED: Final = ("enriched", "amended")

State = Literal["done", "waiting", "late", "dead"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say of the future: seconds after a call's end, and after its first attempt.

    `reached` tells which queues take what is published to `calls` with a routing key.
    """

    emit_after_s: float
    give_up_after_s: float
    reached: Callable[[str], Sequence[str]]


class Next(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What will happen next in one queue, and `then`: `lies_in` is where the call is now, if it is anywhere.

    `at` (epoch seconds) is when, as far as that can be told; `mend` a command, if somebody has to do something.
    """

    queue: str
    state: State
    told: str
    then: tuple[str, ...] = ()
    lies_in: str = ""
    at: float | None = None
    mend: str = ""


class Case(msgspec.Struct, frozen=True):
    """A call in one account `now`: its events by time, and its letters, None if nobody could look."""

    account: str
    call_id: str
    events: tuple[Event, ...]
    letters: Sequence[Letter] | None
    rules: Rules
    now: float
    ended_at: float | None

    @property
    def enrich_queue(self) -> str:
        """The queue in which its notification waits."""
        return ENRICH + self.account


def each_next(case: Case) -> Iterator[Next]:
    """What will happen next, for each queue in which anything happened."""
    lines: dict[str, list[Event]] = {}
    for event in case.events:
        for queue in _queues_of(event, case):
            lines.setdefault(queue, []).append(event)
    for letter in case.letters or ():
        lines.setdefault(letter.queue, [])
    for queue, line in lines.items():
        yield from _next(queue, line, case)


def _queues_of(event: Event, case: Case) -> tuple[str, ...]:
    """The queues of which an event tells: a replay of the one it took a letter from, and of the one it went to."""
    if event.kind == "replayed":
        return tuple(dict.fromkeys((event.queue or case.enrich_queue, _target(event, case))))
    return (case.enrich_queue if event.kind in (*EMITTED, "swept") else event.queue or case.enrich_queue,)


def _target(replay: Event, case: Case) -> str:
    """The queue a letter was replayed to; if it went to an exchange instead, the one that it lay in."""
    if replay.to == f"calls / {CALL_ENDED}.{case.account}":
        return case.enrich_queue
    return replay.to if replay.to and " / " not in replay.to else replay.queue or case.enrich_queue


def _next(queue: str, line: Sequence[Event], case: Case) -> Iterator[Next]:
    here = [letter for letter in case.letters or () if letter.queue == queue]
    if here:
        yield from (_dead(letter) for letter in here)
        return
    last = _last(line)
    match last.kind:
        case "enriched" | "amended":
            yield _after_emission(queue, last, case)
        case "retried" | "held":
            yield _waiting(queue, line, last, case)
        case "dead":
            yield _vanished(queue, case) if case.letters is not None else _dead_unseen(queue, case)
        case "replayed" if _target(last, case) != queue or (" / " in last.to and queue != case.enrich_queue):
            yield Next(queue=queue, state="done", told=f"nothing, its letter went to {last.to}")
        case "replayed" | "swept":
            yield _under_way(queue, last, case)
        case "discarded":
            yield Next(queue=queue, state="done", told="nothing, its letter was discarded")
        case _:
            yield Next(queue=queue, state="done", told=f"nothing, it was {last.kind}")


def _last(line: Sequence[Event]) -> Event:
    """The event that decides: a complete emission is the end of it, and a letter is past once it was replayed.

    A replay's note is written after the letter is on its way, and so may be younger than what came of it.
    """
    if (done := next((event for event in line if event.complete), None)) is not None:
        return done
    deaths = [index for index, event in enumerate(line) if event.kind == "dead"]
    if not deaths:
        return line[-1]
    since = [event for event in line[deaths[-1] + 1 :] if event.kind != "replayed"]
    if since:
        return since[-1]
    settled = sum(event.kind in ("replayed", "discarded") for event in line)
    return line[deaths[-1]] if len(deaths) > settled else line[-1]


def _dead(letter: Letter) -> Next:
    told = f"nothing by itself: it is dead letter {letter.id} in {letter.lies_in}"
    mend = f"aftercall dead replay --id {letter.id}"
    return Next(
        queue=letter.queue, state="dead", told=told, then=(cause_of(letter),), lies_in=letter.lies_in, mend=mend
    )


def cause_of(letter: Letter) -> str:
    """Why a letter is dead: the reason, and the line of its detail that says most."""
    lines = letter.detail.strip().splitlines()
    line = (lines[-1] if letter.reason == "error" else lines[0]) if lines else letter.error_type
    return f"{letter.reason}: {line}" if line else letter.reason


def _dead_unseen(queue: str, case: Case) -> Next:
    told = f"nothing by itself: it is a dead letter, as far as is known in {queue}.dead"
    mend = f"aftercall dead replay --queue {queue} --call-id {case.call_id}"
    return Next(queue=queue, state="dead", told=told, lies_in=f"{queue}.dead", mend=mend)


def _vanished(queue: str, case: Case) -> Next:
    told = f"unknown: its letter is no longer in {queue}.dead, and the ledger knows of no replay or discard"
    mend = f"aftercall dead list --call-id {case.call_id}"
    return Next(queue=queue, state="late", told=told, then=("was it taken out by other means?",), mend=mend)


def _under_way(queue: str, last: Event, case: Case) -> Next:
    what, wanted = ("replayed", "handled again") if last.kind == "replayed" else ("sent in", "enriched")
    if case.now > last.at + LATE_S:
        return _late(queue, f"it was {what} at {iso(last.at)}")
    return Next(queue=queue, state="waiting", told=f"it was {what} and waits in {queue} to be {wanted}", lies_in=queue)


def _late(queue: str, told: str, then: tuple[str, ...] = ()) -> Next:
    """What should have been heard of again. Only the enricher tells of success; a subscriber that is done is silent."""
    if not queue.startswith(ENRICH):
        told = f"nothing, it seems: {told}, and no trouble was noted since"
        unless = f"unless it still waits in {queue}"
        return Next(queue=queue, state="done", told=told, then=(unless,), lies_in=queue)
    why = f"it waits in {queue} for a consumer, or for Vapi to serve the account again"
    return Next(queue=queue, state="late", told=told, then=(why, *then), lies_in=queue, mend="aftercall doctor")


def _after_emission(queue: str, emission: Event, case: Case) -> Next:
    if emission.complete:
        return Next(queue=queue, state="done", told="nothing, the complete call has gone out")
    give_up_at = (emission.received_at or emission.at) + case.rules.give_up_after_s
    if case.now >= give_up_at:
        return _for_good(queue, emission, give_up_at)
    return Next(queue=queue, state="waiting", told=_amendment(emission), then=(_end(give_up_at),))


def _amendment(emission: Event) -> str:
    return f"an amendment follows with {named(emission.missing)}, if that comes"


def _end(give_up_at: float) -> str:
    return f"the last attempt is at about {iso(give_up_at)}"


def _for_good(queue: str, emission: Event, give_up_at: float) -> Next:
    told = f"nothing, it stays without {named(emission.missing)}: the last attempt was at about {iso(give_up_at)}"
    return Next(queue=queue, state="done", told=told)


def named(missing: Sequence[str]) -> str:
    """What a call lacks, in words."""
    return ", ".join("Vapi's record" if name == "api" else name for name in missing) or "all of it"


def _waiting(queue: str, line: Sequence[Event], last: Event, case: Case) -> Next:
    due_at = last.at + _tier_s(last.tier)
    give_up_at = (last.first_attempt_at or last.at) + case.rules.give_up_after_s
    emission = next((event for event in reversed(line) if event.kind in EMITTED), None)
    if emission is not None and case.now > due_at + LATE_S and due_at >= give_up_at - 1:
        return _for_good(queue, emission, give_up_at)  # the last attempt brought nothing new, and so told nothing
    attempt = f"attempt {max(1, last.attempt) + (last.kind == 'retried')}"
    then = (_emission(emission, due_at, case), _end(give_up_at)) if queue.startswith(ENRICH) else ()
    if case.now > due_at + LATE_S:
        return _late(queue, f"{attempt} was due at about {iso(due_at)}", then)
    told = f"{attempt} at about {iso(due_at)}, till then in {RETRY}{last.tier}"
    return Next(queue=queue, state="waiting", told=told, then=then, lies_in=RETRY + last.tier, at=due_at)


def _tier_s(name: str) -> int:
    """The seconds of a tier by its name, since the settings may have changed meanwhile; 0 if it is none."""
    match = TIER.fullmatch(name)
    return int(match[1]) * UNITS_S[match[2]] if match else 0


def _emission(emission: Event | None, due_at: float, case: Case) -> str:
    """What will go out of a call that waits to be enriched: the call as it is at its deadline, or what amends it."""
    if emission is not None:
        return _amendment(emission)
    if case.ended_at is None:
        return f"it goes out as it is {case.rules.emit_after_s:g} s after its end, if it is not complete by then"
    at = max(due_at, case.ended_at + case.rules.emit_after_s)
    return f"it goes out as it is at about {iso(at)}, if it is not complete by then"
