"""The enriched call: what every subscriber gets. Its JSON Schema stands beside, in `enriched_call.schema.json`."""

import hashlib
from typing import Any, Final, Literal

import msgspec

from consumers.ended_reasons import Outcome
from consumers.merge import Source
from consumers.messages import EVENTS, OURS, Delivery, Message, event_headers, pack, unpack
from consumers.outcomes import Undecodable
from consumers.tolerant_json import decode, dump

SCHEMA: Final = "aftercall.call/1"
ENRICHED: Final = "call.enriched"
AMENDED: Final = "call.amended"


class Provenance(msgspec.Struct, frozen=True, rename="camel"):
    """Where the parts of a call come from, and what was taken out of it."""

    source: Source
    from_webhook: list[str]
    redacted: list[str]


class Timeline(msgspec.Struct, frozen=True, rename="camel"):
    """When it ended, came in, was fetched (null: never) and went out; `attempts` is the attempt that succeeded."""

    ended_at: str
    received_at: str
    fetched_at: str | None
    emitted_at: str
    attempts: int


class EnrichedCall(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One call, complete or saying what is missing.

    Of one call's events the greater of (complete, source is `both`, fetchedAt) wins.
    """

    schema: Literal["aftercall.call/1"] = SCHEMA
    account: str
    call_id: str
    version: int
    complete: bool
    missing: tuple[str, ...]
    outcome: Outcome
    call: dict[str, Any]
    provenance: Provenance
    timeline: Timeline

    @property
    def type(self) -> str:
        """The event: the first version is enriched, a later one amended."""
        return ENRICHED if self.version == 1 else AMENDED

    @property
    def routing_key(self) -> str:
        """`call.enriched.<account>.<result>.<reason>`: what subscribers bind to."""
        return f"{self.type}.{self.account}.{self.outcome.result}.{self.outcome.reason}"

    @property
    def rank(self) -> str:
        """Texts that order one call's events: of (complete, source is `both`, fetchedAt) the greater wins."""
        return f"{self.complete:d}{self.provenance.source == 'both':d}{self.timeline.fetched_at or ''}"


_DECODER: Final = msgspec.json.Decoder(EnrichedCall)


def read_enriched(delivery: Delivery) -> EnrichedCall:
    """The enriched call that a delivery carries; fields that are new to us are passed over. Raises `Undecodable`."""
    try:
        return decode_call(unpack(delivery))
    except ValueError as error:
        raise Undecodable(f"no enriched call: {error}") from error


def decode_call(body: bytes) -> EnrichedCall:
    """The enriched call of its JSON. Raises `ValueError` for anything else."""
    try:
        return decode(body, _DECODER)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


class Encoded(msgspec.Struct, frozen=True):
    """An enriched call as bytes, and the id of its event: equal content has an equal id, whichever replica made it."""

    body: bytes
    event_id: str


def encode(enriched: EnrichedCall) -> Encoded:
    """The JSON of an enriched call and its `ce-id`, `<account>/<call id>/<16 hex digits>`.

    The digits begin the SHA-256 of the same JSON without `version` and `timeline`. The call is serialised once.
    """
    head = dump({"schema": enriched.schema, "account": enriched.account, "callId": enriched.call_id})[:-1]
    content = dump(
        {
            "complete": enriched.complete,
            "missing": enriched.missing,
            "outcome": msgspec.to_builtins(enriched.outcome),
            "call": enriched.call,
            "provenance": msgspec.to_builtins(enriched.provenance),
        }
    )[1:-1]
    digest = hashlib.sha256(b"%b,%b}" % (head, content)).hexdigest()[:16]
    timeline = dump(msgspec.to_builtins(enriched.timeline))
    body = b'%b,"version":%d,%b,"timeline":%b}' % (head, enriched.version, content, timeline)
    return Encoded(body, f"{enriched.account}/{enriched.call_id}/{digest}")


def emission(enriched: EnrichedCall, *, source: str, emitted_at: float, trace: dict[str, Any]) -> Message:
    """The message that carries an enriched call to its subscribers."""
    encoded = encode(enriched)
    body, encoding = pack(encoded.body)
    headers = event_headers(
        type_=enriched.type,
        id_=encoded.event_id,
        account=enriched.account,
        call_id=enriched.call_id,
        at=emitted_at,
    )
    headers[f"{OURS}source"] = source
    headers[f"{OURS}received-at"] = enriched.timeline.received_at
    headers[f"{OURS}attempt"] = 1  # its subscribers' first; how often it was fetched is in the timeline
    headers[f"{OURS}version"] = enriched.version
    return Message(
        exchange=EVENTS,
        routing_key=enriched.routing_key,
        body=body,
        type=enriched.type,
        call_id=enriched.call_id,
        headers=headers | trace,
        content_encoding=encoding,
    )
