"""THE CONTRACT: what travels over the broker, and how it is read.

Headers are CloudEvents 1.0 in binary mode, as the RabbitMQ binding has them, and our own `x-aftercall-…`.
`attempt` counts the tries of a delivery from 1. Instants are ISO 8601 in UTC.
"""

import gzip
import re
import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from consumers.timestamps import instant, iso
from consumers.tolerant_json import NotJson, decode, parse

EVENTS: Final = "calls"
DEAD: Final = "calls.dead"
REQUEUE: Final = "calls.requeue"
UNROUTED: Final = "calls.unrouted"
WEBHOOK: Final = "calls.webhook"
ENRICH: Final = "calls.enrich."
RETRY: Final = "calls.retry."

END_OF_CALL_REPORT: Final = "end-of-call-report"
GZIP_ABOVE_BYTES: Final = 2**20
UNPACKED_MAX_BYTES: Final = 2**28
CALL_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")  # it travels in headers, and AMQP's short strings end at 255 bytes
OURS: Final = "x-aftercall-"
# A message that carries these into a tier can vanish there: RabbitMQ 3.x takes them for its own history.
OF_THE_BROKER: Final = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One AMQP message to be published: where to, what, and whose call it is about."""

    exchange: str
    routing_key: str
    body: bytes
    type: str
    call_id: str = ""
    headers: Mapping[str, Any] = {}
    content_type: str | None = "application/json"
    content_encoding: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One AMQP message as the broker handed it to a consumer of `queue`."""

    queue: str
    body: bytes
    headers: Mapping[str, Any] = {}
    type: str = ""
    call_id: str = ""
    content_type: str | None = None
    content_encoding: str | None = None
    published_at: float | None = None
    journey: "Journey | None" = None
    """The way so far, once it was read: `journey_of` gives it."""

    @property
    def account(self) -> str:
        """The account it belongs to: an account's own queue tells, elsewhere the header does."""
        if self.queue.startswith(ENRICH):
            return self.queue.removeprefix(ENRICH)
        return str(self.headers.get(f"{OURS}account", "default"))

    def kept_headers(self) -> dict[str, Any]:
        """The headers to publish it with again: all but the broker's."""
        return {key: value for key, value in self.headers.items() if not key.startswith(OF_THE_BROKER)}


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery's headers say of its way so far; what they leave out has the value of a first arrival."""

    source: str
    received_at: float
    attempt: int
    first_attempt_at: float
    version: int
    emitted: str
    missing: tuple[str, ...]


def journey_of(delivery: Delivery, now: float) -> Journey:
    """The way of `delivery` so far, read tolerantly: a header that is absent or makes no sense is as if new."""
    if delivery.journey is not None:
        return delivery.journey

    def text(name: str) -> str:
        value = delivery.headers.get(OURS + name, "")
        return value if isinstance(value, str) else ""

    return Journey(
        source=text("source") or "webhook",
        received_at=instant(text("received-at")) or delivery.published_at or now,
        attempt=max(1, _whole(delivery.headers.get(f"{OURS}attempt"))),
        first_attempt_at=min(instant(text("first-attempt-at")) or now, now),
        version=max(0, _whole(delivery.headers.get(f"{OURS}version"))),
        emitted=text("emitted"),
        missing=tuple(filter(None, text("missing").split(","))),
    )


def with_journey(delivery: Delivery, now: float) -> Delivery:
    """The same delivery, its way so far read once for all who ask."""
    return msgspec.structs.replace(delivery, journey=journey_of(delivery, now))


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


class Identity(msgspec.Struct, frozen=True):
    """What the endpoint needs to know of a server message: its type and, if it is about one, the call's id."""

    type: str
    call_id: str


class Unidentified(Exception):
    """A server message that names no type or, though it reports an ended call, no call. `reason` is a dead letter's."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _Call(msgspec.Struct):
    id: str | None = None


class _ServerMessage(msgspec.Struct):
    type: str | None = None
    call: _Call | None = None


class _Envelope(msgspec.Struct):
    message: _ServerMessage


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)


def identify(body: bytes) -> Identity:
    """Read type and call id of a server message without building the rest of it. Raises `Unidentified`."""
    try:
        message = decode(body, _ENVELOPE).message
        identity = Identity(message.type or "", (message.call and message.call.id) or "")
    except NotJson as error:
        raise Unidentified("undecodable", f"not JSON: {error}") from error
    except msgspec.ValidationError:
        identity = _identify_oddly_shaped(body)
    return _checked(identity)


def _identify_oddly_shaped(body: bytes) -> Identity:
    try:
        return identity_of(parse(body))
    except NotJson as error:
        raise Unidentified("undecodable", f"not JSON: {error}") from error


def identity_of(document: Any) -> Identity:
    """Type and call id of a parsed server message, empty where they are absent or no text."""
    message = _member(document, "message")
    type_, call_id = _member(message, "type"), _member(_member(message, "call"), "id")
    return Identity(type_ if isinstance(type_, str) else "", call_id if isinstance(call_id, str) else "")


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _checked(identity: Identity) -> Identity:
    if not identity.type:
        raise Unidentified("no-type", "message.type is missing or no text")
    if identity.type == END_OF_CALL_REPORT and not CALL_ID.fullmatch(identity.call_id):
        raise Unidentified("no-call-id", "message.call.id is missing, or not 1 to 128 printable characters")
    return identity


def event_headers(*, type_: str, id_: str, account: str, call_id: str, at: float) -> dict[str, Any]:
    """The CloudEvents headers of an event about a call that happened `at` an instant."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": id_,
        "ce-type": type_,
        "ce-source": f"/accounts/{account}",
        "ce-time": iso(at),
        f"{OURS}account": account,
    }
    return headers | {"ce-subject": call_id} if call_id else headers


def pack(body: bytes) -> tuple[bytes, str | None]:
    """`body` as it travels, with its `content_encoding`: gzipped above 1 MiB, the same bytes each time."""
    if len(body) <= GZIP_ABOVE_BYTES:
        return body, None
    return gzip.compress(body, compresslevel=5, mtime=0), "gzip"


def unpacked_bytes(body: bytes, encoding: str | None) -> int:
    """How large a body says that it is once unpacked: gzip tells at its end (RFC 1952, ISIZE)."""
    return max(len(body), int.from_bytes(body[-4:], "little")) if encoding == "gzip" else len(body)


def unpack(delivery: Delivery) -> bytes:
    """The body of `delivery` as it was before it travelled. Raises `ValueError` for one that cannot be unpacked."""
    if delivery.content_encoding in (None, "", "identity"):
        return delivery.body
    if delivery.content_encoding != "gzip":
        raise ValueError(f"content_encoding {delivery.content_encoding!r} is not one that we read")
    try:
        unzip = zlib.decompressobj(wbits=31)
        body = unzip.decompress(delivery.body, UNPACKED_MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"not gzip: {error}") from error
    if not unzip.eof:
        raise ValueError(f"cut off, or larger than {UNPACKED_MAX_BYTES} bytes once unzipped")
    return body
