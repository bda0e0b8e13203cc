"""What the sweep makes of the calls that Vapi lists: which ended, what the ledger leaves to be done, how far it is.

A list is of whole calls, tens of kilobytes each. Of all but the few that are sent in only four fields are read.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from consumers.enrich import CallUnreadable
from consumers.ledger import Standing
from consumers.merge import IDENTITY
from consumers.messages import CALL_ID, END_OF_CALL_REPORT
from consumers.timestamps import instant
from consumers.tolerant_json import NotJson, decode, dump, mend, parse

KEPT_BY_VAPI_S: Final = 14 * 86400.0
"""How long Vapi keeps a call at the least: that of a pay-as-you-go account, whose calls it lists no longer then."""
NOT_OF_THE_REPORT: Final = frozenset({*IDENTITY, "status", "updatedAt"})


class ListedCall(msgspec.Struct, frozen=True):
    """An ended call as Vapi lists it; `body` is the call as it came."""

    id: str
    ended_at: float
    updated_at: float
    body: msgspec.Raw


class Judgement(msgspec.Struct, frozen=True):
    """What is to be done about some ended calls.

    `missing` are those that nothing accounts for, earliest end first. `unsettled_since` is the first `updatedAt` (epoch
    seconds) of a call that is missing or only on its way, and infinite if all are settled.
    """

    missing: list[ListedCall]
    unsettled_since: float


class _Head(msgspec.Struct, rename="camel"):
    """What the sweep looks at; anything may stand in any place."""

    id: Any = None
    status: Any = None
    ended_at: Any = None
    updated_at: Any = None


_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_HEAD: Final = msgspec.json.Decoder(_Head)
# Each slower than the one before, and needed more rarely: as it is, without half characters, written anew.
_READABLE: Final = (bytes, mend, lambda body: dump(parse(body)))


def read_list(body: bytes) -> list[msgspec.Raw]:
    """The calls in an answer of `GET /call`, each as it came: parts of `body`, of which nothing is copied.

    Raises `CallUnreadable` for what is no list.
    """
    for readable in _READABLE:
        try:
            return _LIST.decode(readable(body))
        except msgspec.ValidationError as error:
            raise CallUnreadable("Vapi's list is no list") from error
        except NotJson as error:
            raise CallUnreadable(f"Vapi's list is not JSON: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    raise CallUnreadable("Vapi's list nests too deep")


def ended_calls(listed: Iterable[msgspec.Raw], *, before: float) -> Iterator[ListedCall]:
    """The calls among `listed` that ended `before` an instant; whatever is no call of Vapi's is passed over."""
    for body in listed:
        head = _head(body)
        updated_at = instant(head.updated_at)
        ended_at = instant(head.ended_at) or updated_at
        if head.status != "ended" or not isinstance(head.id, str) or not CALL_ID.fullmatch(head.id):
            continue
        if ended_at is not None and ended_at < before:
            yield ListedCall(head.id, ended_at, updated_at or ended_at, body)


def _head(body: msgspec.Raw) -> _Head:
    try:
        return decode(bytes(body), _HEAD)
    except (msgspec.ValidationError, NotJson):
        return _Head()


def judge(ended: Sequence[ListedCall], standings: Mapping[str, Standing]) -> Judgement:
    """Judge ended calls by what the ledger has of them."""
    missing = sorted((call for call in ended if call.id not in standings), key=lambda call: call.ended_at)
    unsettled = (call.updated_at for call in ended if standings.get(call.id) != "settled")
    return Judgement(missing, min(unsettled, default=math.inf))


def watermark_at(looked_until: float, unsettled_since: float, now: float) -> float:
    """How far a sweep has come (epoch seconds): the next one begins there, so no call that is not settled lies behind.

    What is only on its way may get lost, and must be looked at again when it no longer counts. A call that never
    settles holds the watermark for as long as Vapi keeps it at the least: so long it is sent in again and again, and
    after that every sweep would list everything since for nothing.
    """
    return min(looked_until, max(unsettled_since, now - KEPT_BY_VAPI_S))


def report_of(listed: ListedCall) -> bytes:
    """The end-of-call report of a listed call, in the shape Vapi would have sent it."""
    call = parse(bytes(listed.body))
    message = {
        "type": END_OF_CALL_REPORT,
        "timestamp": int(listed.ended_at * 1000),
        "call": {key: call[key] for key in IDENTITY if key in call},
    }
    return dump({"message": message | {key: call[key] for key in call if key not in NOT_OF_THE_REPORT}})
