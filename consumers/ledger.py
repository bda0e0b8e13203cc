"""The ledger's consumer: each event of each call becomes a record of what happened, without anything that was said.

It takes enriched and amended calls, of which it reads only the frame around the call, and notes, which have no body.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from consumers.enriched import AMENDED, ENRICHED
from consumers.messages import OURS, Delivery, Message, unpack
from consumers.outcomes import Undecodable
from consumers.quoting import place_of
from consumers.timestamps import instant
from consumers.tolerant_json import NotJson, decode

NOTED: Final = "call.noted"

Kind = Literal["enriched", "amended", "retried", "held", "parked", "dead", "replayed", "discarded", "swept", "asked"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

SETTLED: Final = frozenset[Kind](("enriched", "amended", "dead", "discarded"))
"""After one of these a call is accounted for, whatever else happens."""
ON_ITS_WAY: Final = frozenset[Kind](("swept", "retried", "held"))
"""After one of these it is for some time: one more try is to come."""
Standing = Literal["settled", "on its way"]
"""How a call is accounted for: for good, or for some time, in which it may yet get lost."""

TEXT_MAX: Final = 500
ID_MAX: Final = 400
WHOLE_MAX: Final = 2**31 - 1


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one call. Instants are epoch seconds; what is not known is empty, 0 or None.

    `event_id` is the `ce-id`: with the kind it is unique. `call_id` is empty where it is about no call (`asked`, and
    `parked` without an id). `reason` is the class of `endedReason`, `letter_reason` why a letter is dead.
    """

    account: str
    call_id: str
    kind: Kind
    at: float
    event_id: str
    source: str = ""
    """How the notification came in: `webhook`, `sweep` or `replay`."""
    queue: str = ""
    letter_reason: str = ""
    detail: str = ""
    """A sentence; of a traceback only the error's type and place, since its message may quote a call."""
    tier: str = ""
    to: str = ""
    """Where a replayed letter went."""
    attempt: int = 0
    """From 1: of a note the attempt it tells of, of an enriched call the one that succeeded."""
    first_attempt_at: float | None = None
    version: int = 0
    complete: bool | None = None
    missing: tuple[str, ...] = ()
    result: str = ""
    reason: str = ""
    ended_reason: str = ""
    joined_from: str = ""
    """Where the content of an enriched call comes from: `api`, `webhook` or `both`."""
    received_at: float | None = None
    ended_at: float | None = None
    fetched_at: float | None = None
    emitted_at: float | None = None
    body_bytes: int = 0
    """The size of the message's body as it travelled."""


Record = Callable[[Event], Awaitable[None]]
"""Write an event for good; one that is there already is left as it is. Raises `DatabaseAway`."""


async def keep(delivery: Delivery, now: float, *, record: Record) -> tuple[Message, ...]:
    """Write what a delivery tells into the ledger. Raises `Undecodable`, and `DatabaseAway` as `record` does."""
    await record(read_event(delivery, now))
    return ()


def standings(events: Iterable[tuple[str, Kind, float]], *, now: float, waiting_s: float) -> dict[str, Standing]:
    """The calls that some events, each a call's id, a kind and an instant, account for `now`.

    A call that is on its way counts for `waiting_s` seconds: by then it would have gone out, even incomplete.
    """
    found: dict[str, Standing] = {}
    for call_id, kind, at in events:
        if kind in SETTLED:
            found[call_id] = "settled"
        elif kind in ON_ITS_WAY and at > now - waiting_s:
            found.setdefault(call_id, "on its way")
    return found


def read_event(delivery: Delivery, now: float) -> Event:
    """The event in a delivery of the ledger's queue. Raises `Undecodable` if it is none."""
    type_ = delivery.type or _text(delivery.headers.get("ce-type"))
    if type_ == NOTED:
        return _of_note(delivery, now)
    if type_ in (ENRICHED, AMENDED):
        return _of_call(delivery, "enriched" if type_ == ENRICHED else "amended", now)
    raise Undecodable(f"its type is {type_!r}, and the ledger keeps {ENRICHED}, {AMENDED} and {NOTED}")


_Whole = Annotated[int, msgspec.Meta(ge=0, le=WHOLE_MAX)]


class _Outcome(msgspec.Struct, rename="camel"):
    result: str
    reason: str
    ended_reason: str | None = None


class _Provenance(msgspec.Struct):
    source: str


class _Timeline(msgspec.Struct, rename="camel"):
    ended_at: str
    received_at: str
    fetched_at: str | None
    emitted_at: str
    attempts: _Whole


class _Frame(msgspec.Struct, rename="camel"):
    """An enriched call without the call: the decoder skips that, and builds nothing of it."""

    account: str
    call_id: str
    version: _Whole
    complete: bool
    missing: tuple[str, ...]
    outcome: _Outcome
    provenance: _Provenance
    timeline: _Timeline


_FRAME: Final = msgspec.json.Decoder(_Frame)


def _of_call(delivery: Delivery, kind: Kind, now: float) -> Event:
    frame = _frame(delivery)
    outcome, timeline = frame.outcome, frame.timeline
    emitted_at = instant(timeline.emitted_at)
    return Event(
        account=_text(frame.account),
        call_id=_text(frame.call_id),
        kind=kind,
        at=_happened_at(delivery, emitted_at or now),
        event_id=_event_id(delivery),
        source=_told(delivery, "source"),
        attempt=timeline.attempts,
        version=frame.version,
        complete=frame.complete,
        missing=tuple(map(_text, frame.missing)),
        result=_text(outcome.result),
        reason=_text(outcome.reason),
        ended_reason=_text(outcome.ended_reason),
        joined_from=_text(frame.provenance.source),
        received_at=instant(timeline.received_at),
        ended_at=instant(timeline.ended_at),
        fetched_at=instant(timeline.fetched_at),
        emitted_at=emitted_at,
        body_bytes=len(delivery.body),
    )


def _frame(delivery: Delivery) -> _Frame:
    try:
        return decode(unpack(delivery), _FRAME)
    except NotJson as error:
        raise Undecodable(f"not JSON: {error}") from error
    except (msgspec.ValidationError, ValueError) as error:
        raise Undecodable(f"not an enriched call: {error}") from error


def _of_note(delivery: Delivery, now: float) -> Event:
    event_id = _event_id(delivery)
    detail = _told(delivery, "detail", whole=True)
    letter_reason = _told(delivery, "reason")
    return Event(
        account=delivery.account[:TEXT_MAX],
        call_id=_text(delivery.call_id) or _text(delivery.headers.get("ce-subject")),
        kind=_kind_of(event_id),
        at=_happened_at(delivery, now),
        event_id=event_id,
        source=_told(delivery, "source"),
        queue=_told(delivery, "queue"),
        letter_reason=letter_reason,
        detail=(place_of(detail) if letter_reason == "error" else detail)[:TEXT_MAX],
        tier=_told(delivery, "tier"),
        to=_told(delivery, "to"),
        attempt=_whole(delivery.headers.get(f"{OURS}attempt")),
        first_attempt_at=instant(_told(delivery, "first-attempt-at")),
        received_at=instant(_told(delivery, "received-at")),
    )


def _kind_of(event_id: str) -> Kind:
    """What a note tells is in its id, `<account>/<call id>/<what>/<instant>`, which no tier and no letter changes."""
    what = event_id.rsplit("/", 2)[-2] if event_id.count("/") > 1 else ""
    for kind in KINDS:
        if kind == what:
            return kind
    raise Undecodable(f"a note of {what!r}, and the ledger knows {', '.join(KINDS)}: is an older version reading it?")


def _event_id(delivery: Delivery) -> str:
    event_id = delivery.headers.get("ce-id")
    if not isinstance(event_id, str) or not 0 < len(event_id) <= ID_MAX:
        raise Undecodable("its ce-id is missing, or not 1 to 400 characters: by it the ledger tells events apart")
    return _clean(event_id)


def _happened_at(delivery: Delivery, otherwise: float) -> float:
    return instant(delivery.headers.get("ce-time")) or otherwise


def _told(delivery: Delivery, name: str, *, whole: bool = False) -> str:
    value = delivery.headers.get(OURS + name)
    return _clean(value) if whole and isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    return _clean(value[:TEXT_MAX]) if isinstance(value, str) else ""


def _clean(text: str) -> str:
    """`text` as any database takes it: PostgreSQL has no NUL, and neither has half of a surrogate pair."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _whole(value: Any) -> int:
    return min(max(0, value), WHOLE_MAX) if isinstance(value, int) and not isinstance(value, bool) else 0
