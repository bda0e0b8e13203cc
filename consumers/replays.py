"""Replays of dead letters and of archived calls: where one goes, and what is published there."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from consumers.dead_letters import SPOOL, Letter
from consumers.enriched import EnrichedCall, emission
from consumers.messages import DEAD, OURS, REQUEUE, UNROUTED, WEBHOOK, Delivery, Message
from consumers.settling import note
from consumers.timestamps import iso

PREVIOUS: Final = f"{OURS}previous-"
STORY: Final = ("queue", "reason", "detail", "error-type", "attempt", "first-attempt-at", "died-at", "last-error")


class NoWayBack(Exception):
    """A letter has no queue to go back to; the text says what to do about it."""


class Destination(msgspec.Struct, frozen=True, order=True):
    """Where a replayed letter is published to."""

    exchange: str
    routing_key: str

    def __str__(self) -> str:
        return self.routing_key if self.exchange == REQUEUE else f"{self.exchange} / {self.routing_key}"


def destination_of(letter: Letter, to: str = "") -> Destination:
    """Where a replay takes a letter: to the queue `to`, else back to where it failed. Raises `NoWayBack`."""
    if to:
        return Destination(REQUEUE, to)
    if letter.goes_its_own_way and letter.exchange != UNROUTED:
        return Destination(letter.exchange, letter.routing_key)
    if letter.queue in (WEBHOOK, UNROUTED, SPOOL):
        raise NoWayBack(
            f"Letters of {letter.queue} were never in a consumer's queue, so there is none to go back to:"
            f" name one, as in `--queue {letter.queue} --to calls.enrich.{letter.account}`."
        )
    return Destination(REQUEUE, letter.queue)


def replay_of(letter: Letter, delivery: Delivery, destination: Destination) -> Message:
    """The message that a replay publishes: bytes, encoding and headers kept, its story as history, attempts anew.

    On its way to the dead letters, where nobody took it before, it keeps its story: it still tells why it is dead.
    """
    headers = delivery.kept_headers()
    return Message(
        exchange=destination.exchange,
        routing_key=destination.routing_key,
        body=delivery.body,
        type=delivery.type,
        call_id=delivery.call_id or letter.call_id,
        headers=headers if destination.exchange == DEAD else _begun_anew(letter, headers),
        content_type=delivery.content_type,
        content_encoding=delivery.content_encoding,
    )


def _begun_anew(letter: Letter, headers: dict[str, Any]) -> dict[str, Any]:
    past = {PREVIOUS + name: headers[OURS + name] for name in STORY if OURS + name in headers}
    past |= {f"{PREVIOUS}queue": letter.queue, f"{PREVIOUS}reason": letter.reason}
    if letter.died_at is not None:
        past[f"{PREVIOUS}died-at"] = iso(letter.died_at)
    gone = {OURS + name for name in STORY}
    kept = {key: value for key, value in headers.items() if key not in gone and not key.startswith(PREVIOUS)}
    return kept | past | {f"{OURS}attempt": 1}


def note_of(what: str, letter: Letter, now: float, destination: Destination | None = None) -> Message:
    """The note that tells the ledger of a letter `replayed` or `discarded`."""
    told = {"queue": letter.queue, "reason": letter.reason, "detail": letter.detail, "attempt": letter.attempts}
    story: dict[str, Any] = {OURS + key: value for key, value in told.items()}
    if destination is not None:
        story[f"{OURS}to"] = str(destination)
    return note(what, letter.account, letter.call_id, now, story)


def replay_of_call(call: EnrichedCall, queue: str, run: str, now: float, trace: Mapping[str, Any]) -> Message:
    """The message that brings an archived call to one queue again: as it was emitted, but a new event of that run.

    Within a run a call has one `ce-id`, so a run that is gone on with doubles nothing. Attempts begin anew.
    """
    message = emission(call, source="replay", emitted_at=now, trace=dict(trace))
    new = {"ce-id": f"{message.headers['ce-id']}/replay/{run}", f"{OURS}attempt": 1}
    headers = {**message.headers, **new}
    return replace(message, exchange=REQUEUE, routing_key=queue, headers=headers)


def note_of_call(call: EnrichedCall, queue: str, run: str, now: float) -> Message:
    """The note that tells the ledger of an archived call that was replayed."""
    told = {"queue": queue, "to": queue, "source": "replay", "detail": f"run {run}"}
    return note("replayed", call.account, call.call_id, now, {OURS + key: value for key, value in told.items()})
