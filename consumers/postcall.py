"""The archive's consumer: each call becomes a row with what people ask for, what was said, and the whole of it.

Of a call's events the greater one is the row, in whatever order and however often they come.
"""

import gzip
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from consumers.enriched import EnrichedCall, read_enriched
from consumers.facts import Facts, facts_of
from consumers.messages import Delivery, Message
from consumers.timestamps import instant, iso
from consumers.tolerant_json import dump
from consumers.words import Term

TEXT_MAX: Final = 500
KEY_MAX: Final = 200
"""PostgreSQL indexes no more than 2,704 bytes of a row, and a key has two texts."""
LATEST: Final = 253_402_214_400.0
"""The last day of the year 9999. Later, or before 1970, there was no call; and some time zones have no such time."""
LARGEST: Final = 2**53
KEYS: Final = frozenset({"account", "call_id"})
LONG: Final = frozenset(
    {"summary", "transcript", "structured_data", "structured_outputs", "recording_url", "rank"},
)
NUL: Final = "\0"
OF_A_REPLAY: Final = re.compile(r"/replay/[^/]+$")


class CallRow(Facts, frozen=True, kw_only=True):
    """A call as the archive has it: its facts, and what is ours. Instants are ISO 8601 in UTC, to the millisecond.

    `id` is the archive's own number for it, 0 before it has one. `structured_data` and `structured_outputs` are JSON.
    """

    id: int = 0
    account: str
    call_id: str
    event_id: str
    """The `ce-id` of the event that it is from."""
    rank: str
    """Texts that order the events of a call totally, so that any order of their coming ends in the same row."""
    version: int
    complete: bool
    missing: tuple[str, ...]
    result: str
    reason: str
    ended_reason: str | None
    structured_data: str | None
    structured_outputs: str | None
    joined_from: str
    """Where the content comes from: `api`, `webhook` or `both`."""
    ended_at: str
    received_at: str | None
    fetched_at: str | None
    emitted_at: str | None
    archived_at: str
    body: bytes = b""
    """The enriched call's JSON, gzipped."""


_FACTS: Final = Facts.__struct_fields__
COLUMNS: Final = (
    *(name for name in CallRow.__struct_fields__ if name not in (*_FACTS, "id", "body")),
    *_FACTS,
    "body",
)
"""What a row consists of, in the order in which people are shown it. Those that end in `_at` are instants."""


class WantedCalls(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls of the archive: those that fit all that is given; of several values any one.

    `since` and `until` are instants (epoch seconds) of the call's end, durations seconds, costs US dollars. `numbers`
    are spellings of one number, the customer's or ours.
    """

    accounts: tuple[str, ...] = ()
    call_ids: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    assistants: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    min_cost: float | None = None
    max_cost: float | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    terms: tuple[Term, ...] = ()


Save = Callable[[CallRow], Awaitable[None]]
"""Keep a row for good, unless the call's row there is of a rank as great. Raises `DatabaseAway`."""


async def keep(delivery: Delivery, now: float, *, save: Save) -> tuple[Message, ...]:
    """Keep the call of a delivery. Raises `Undecodable`, and `DatabaseAway` as `save` does."""
    await save(row_of(delivery, now))
    return ()


def row_of(delivery: Delivery, now: float) -> CallRow:
    """The row of the enriched call in a delivery that is archived `now`. Raises `Undecodable`."""
    call = read_enriched(delivery)
    event_id = OF_A_REPLAY.sub("", str(delivery.headers.get("ce-id") or ""))
    facts = asdict(facts_of(call))
    facts |= {name: _json(facts[name]) for name in ("structured_data", "structured_outputs")}
    facts["started_at"] = _moment(facts["started_at"])
    ours = _ours(call, event_id) | {"archived_at": iso(now)}
    ours["ended_at"] = _moment(facts["ended_at"]) or _moment(call.timeline.ended_at) or iso(now)
    return CallRow(**{name: _fit(name, value) for name, value in (facts | ours).items()}, body=_packed(delivery))


def _ours(call: EnrichedCall, event_id: str) -> dict[str, Any]:
    return {
        "account": call.account,
        "call_id": call.call_id,
        "event_id": event_id,
        "rank": f"{call.rank} {call.version:09} {event_id}",
        "version": call.version,
        "complete": call.complete,
        "missing": call.missing,
        "result": call.outcome.result,
        "reason": call.outcome.reason,
        "ended_reason": call.outcome.ended_reason,
        "joined_from": call.provenance.source,
        "received_at": _moment(call.timeline.received_at),
        "fetched_at": _moment(call.timeline.fetched_at),
        "emitted_at": _moment(call.timeline.emitted_at),
    }


def _packed(delivery: Delivery) -> bytes:
    """The body as it is kept: what was too large to travel plainly is as it came."""
    is_packed = delivery.content_encoding == "gzip"
    return delivery.body if is_packed else gzip.compress(delivery.body, compresslevel=1, mtime=0)


def _moment(text: str | None) -> str | None:
    at = instant(text)
    return iso(at) if at is not None and 0 <= at < LATEST else None


def _json(value: Any) -> str | None:
    return None if value is None else dump(_without_nul(value)).decode()


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(NUL, "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value


def _fit(name: str, value: Any) -> Any:
    """`value` as any database takes it: neither NUL, which PostgreSQL has not, nor half a pair, nor a huge number."""
    if isinstance(value, str):
        text = value if name in LONG else value[: KEY_MAX if name in KEYS else TEXT_MAX]
        return text.replace(NUL, "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    if isinstance(value, tuple):
        return tuple(_fit(name, each) for each in value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(-LARGEST, min(value, LARGEST)) if is_number else value


def body_of(row: CallRow) -> bytes:
    """The JSON of an archived call. Raises `ValueError` if it is damaged."""
    try:
        return gzip.decompress(row.body)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"its body in the archive is damaged: {error}") from error


def spellings_of(number: str) -> tuple[str, ...]:
    """How a number may be written in the archive: as it is given, and as E.164 has it, with its plus or without."""
    digits = "".join(each for each in number if each.isdigit())
    return tuple(dict.fromkeys(filter(None, (number.strip(), digits and f"+{digits}", digits))))
