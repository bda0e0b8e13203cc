"""Dead letters: what one tells of itself, which belong together, and which are wanted."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from consumers.messages import CALL_ID, OURS, UNROUTED, Delivery, journey_of
from consumers.timestamps import instant, iso

SPOOL: Final = "spool"
"""Where the endpoint's spool keeps what the broker cannot take; letters there go their own way, as unrouted ones do."""
SUFFIX: Final = ".dead"
ACCOUNT: Final = re.compile(r"[a-z0-9-]{1,40}")
ID_DIGITS: Final = 12
WORDS: Final = 8
# What differs between two letters of one cause: quoted values, numbers and ids.
VARYING: Final = re.compile(r"""'[^']*'|"[^"]*"|\b[\w-]*\d[\w.-]*""")
REASONS_OF_THE_BROKER: Final = {"delivery_limit": "delivery-limit", "rejected": "rejected"}


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter without its body.

    `lies_in` is the queue it lies in, `queue` the one it failed in; `exchange` and `routing_key` are those it came by.
    `attempts` counts from 1. `died_at` (epoch seconds) is None for a message that tells nothing of its time.
    """

    id: str
    lies_in: str
    queue: str
    reason: str
    call_id: str
    account: str
    attempts: int
    died_at: float | None
    detail: str
    error_type: str
    exchange: str
    routing_key: str

    @property
    def goes_its_own_way(self) -> bool:
        """Whether it never failed in a queue, and so goes back to its own exchange and routing key."""
        return self.lies_in in (UNROUTED, SPOOL)

    @property
    def error(self) -> str:
        """The cause in a few words, equal for letters that differ only in values: what groups them."""
        lines = self.detail.strip().splitlines() or [""]
        line = lines[-1] if self.reason == "error" else lines[0]
        words = " ".join(VARYING.sub("…", line).split()[:WORDS])
        if not self.error_type or words.startswith(self.error_type):
            return words
        return f"{self.error_type}: {words}" if words else self.error_type


def letter_of(delivery: Delivery, *, exchange: str, routing_key: str, message_id: str = "") -> Letter:
    """The letter in a delivery, whose `queue` is the one it lies in. Reads any message, however odd its headers."""
    story = _story_of(delivery, exchange, routing_key)
    account = msgspec.structs.replace(delivery, queue=story["queue"]).account
    return Letter(
        id=_id_of(delivery, message_id, routing_key),
        lies_in=delivery.queue,
        call_id=_call_id_of(delivery),
        account=account if ACCOUNT.fullmatch(account) else "unknown",
        attempts=journey_of(delivery, 0).attempt,
        exchange=exchange,
        routing_key=routing_key,
        **story,
    )


def _story_of(delivery: Delivery, exchange: str, routing_key: str) -> dict[str, Any]:
    """Why, where and when it died: as told by us, else by the broker; what nobody took tells where it was to go."""
    if delivery.queue == UNROUTED:
        story = (UNROUTED, "unrouted", f"no queue took {routing_key} at exchange {exchange or 'default'}", "")
    elif told := _text(delivery.headers, f"{OURS}reason"):
        queue = _text(delivery.headers, f"{OURS}queue") or delivery.queue.removesuffix(SUFFIX)
        detail, error_type = (_text(delivery.headers, OURS + name) for name in ("detail", "error-type"))
        story = (queue, told, detail, error_type)
    else:
        story = (*_story_of_the_broker(delivery), "")
    told_at = instant(_text(delivery.headers, f"{OURS}died-at")) or _died_at_of_the_broker(delivery)
    died_at = told_at or delivery.published_at
    return dict(zip(("queue", "reason", "detail", "error_type"), story, strict=True)) | {"died_at": died_at}


def _story_of_the_broker(delivery: Delivery) -> tuple[str, str, str]:
    here = delivery.queue.removesuffix(SUFFIX)
    death = _death_of(delivery)
    why = _text(death, "reason")
    if not why:
        return here, "error", "it carries no story: neither a consumer of ours nor the broker put it here"
    queue = _text(death, "queue") or here
    return queue, REASONS_OF_THE_BROKER.get(why, "error"), f"the broker put it here: {why}"


def _death_of(delivery: Delivery) -> Mapping[str, Any]:
    """The broker's entry for the last death, in the queue this one keeps the letters of if there is one."""
    deaths = delivery.headers.get("x-death")
    told = [death for death in deaths if isinstance(death, dict)] if isinstance(deaths, list) else []
    here = [death for death in told if _text(death, "queue") == delivery.queue.removesuffix(SUFFIX)]
    if here or told:
        return (here or told)[0]
    first = {"reason": _text(delivery.headers, "x-first-death-reason")}
    return first | {"queue": _text(delivery.headers, "x-first-death-queue")}


def _died_at_of_the_broker(delivery: Delivery) -> float | None:
    at = _death_of(delivery).get("time")
    return at.timestamp() if isinstance(at, datetime) else None


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name, "")
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _call_id_of(delivery: Delivery) -> str:
    told = (delivery.call_id, _text(delivery.headers, "ce-subject"))
    return next((call_id for call_id in told if CALL_ID.fullmatch(call_id)), "")


def _id_of(delivery: Delivery, message_id: str, routing_key: str) -> str:
    """Equal each time one looks. One publish may lie dead in several queues, hence the queue's name in it."""
    known = message_id or f"{_text(delivery.headers, 'ce-id')} {routing_key} {delivery.published_at}"
    digest = hashlib.sha256(f"{delivery.queue}\0{known}\0".encode("utf-8", "surrogateescape"))
    if not message_id:
        digest.update(delivery.body)
    return digest.hexdigest()[:ID_DIGITS]


def row_of(letter: Letter) -> dict[str, Any]:
    """What `aftercall dead list` tells of a letter; None where there is nothing to tell."""
    return {
        "id": letter.id,
        "queue": letter.queue,
        "reason": letter.reason,
        "callId": letter.call_id or None,
        "account": letter.account,
        "attempts": letter.attempts,
        "diedAt": _iso(letter.died_at),
    }


def _iso(at: float | None) -> str | None:
    return None if at is None else iso(at)


class Group(msgspec.Struct, kw_only=True):
    """Letters of one queue, reason and error: how many, the times of the first and last, and the id of the oldest."""

    queue: str
    reason: str
    error: str
    count: int = 0
    first: float | None = None
    last: float | None = None
    example: str = ""

    def add(self, letter: Letter) -> None:
        """Count a letter in."""
        at = letter.died_at
        if not self.count or (at is not None and (self.first is None or at < self.first)):
            self.first, self.example = at, letter.id
        if at is not None and (self.last is None or at > self.last):
            self.last = at
        self.count += 1

    def row(self) -> dict[str, Any]:
        """What `aftercall dead groups` tells of it."""
        times = {"first": _iso(self.first), "last": _iso(self.last)}
        return {"queue": self.queue, "reason": self.reason, "count": self.count, **times, "example": self.example}


class Groups:
    """Letters counted by cause, as they come; the largest group first."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], Group] = {}

    def add(self, letter: Letter) -> None:
        """Count a letter in its group."""
        key = (letter.queue, letter.reason, letter.error)
        group = self._groups.setdefault(key, Group(queue=key[0], reason=key[1], error=key[2]))
        group.add(letter)

    def sorted(self) -> list[Group]:
        """The groups, by falling count, then by name."""
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.queue, group.reason, group.error))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters: those that fit all that is given, and any one of several. Times are epoch seconds.

    A letter that tells nothing of its time fits no age.
    """

    ids: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    call_ids: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None

    def fits(self, letter: Letter) -> bool:
        """Whether a letter is among them."""
        asked = (
            (self.ids, letter.id),
            (self.reasons, letter.reason),
            (self.accounts, letter.account),
            (self.call_ids, letter.call_id),
        )
        queues = not self.queues or not self.queues.isdisjoint((letter.queue, letter.lies_in.removesuffix(SUFFIX)))
        return queues and all(not some or one in some for some, one in asked) and self._fits_age(letter.died_at)

    def _fits_age(self, died_at: float | None) -> bool:
        if self.since is None and self.until is None:
            return True
        return died_at is not None and (self.since or 0) <= died_at <= (self.until or float("inf"))


def queue_named(name: str) -> str:
    """The queue a person means by `crm`, `calls.crm` or `calls.crm.dead`: the one in which letters failed."""
    bare = name.removesuffix(SUFFIX)
    return bare if bare == SPOOL or bare.startswith("calls.") else f"calls.{bare}"
