"""AMQP frames: their head, the few that are made and read here, and nothing of what they mean.

Source: AMQP 0-9-1, https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, section 4.2.
"""

from functools import lru_cache
from struct import Struct
from typing import Final

from pamqp import encode

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
KINDS: Final = frozenset({METHOD, HEADER, BODY, 8})
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
END: Final = b"\xce"
FRAMING_BYTES: Final = 8
FRAME_MAX: Final = 2**17
"""What RabbitMQ sets by default, and what is kept to where a broker sets no limit, which it tells as 0."""

DELIVER: Final = b"\x00\x3c\x00\x3c"
RETURN: Final = b"\x00\x3c\x00\x32"
ACK: Final = b"\x00\x3c\x00\x50"
NACK: Final = b"\x00\x3c\x00\x78"

HEAD: Final = Struct(">BHI")
"""Kind, channel, size of what follows; then `END`."""
TAG: Final = Struct(">Q")
TAG_AND_BITS: Final = Struct(">QB")
_SETTLED: Final = Struct(">BHIHHQBB")
_PUBLISH: Final = Struct(">HHH")
MANDATORY: Final = b"\x01"


def ack(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """The frame that acknowledges one delivery, or all up to it."""
    return _SETTLED.pack(METHOD, channel, 13, 60, 80, tag, multiple, 0xCE)


def reject(channel: int, tag: int, *, requeue: bool) -> bytes:
    """The frame that rejects one delivery."""
    return _SETTLED.pack(METHOD, channel, 13, 60, 90, tag, requeue, 0xCE)


def publish(channel: int, place: tuple[str, str], header: bytes, body: bytes, most: int) -> list[bytes]:
    """The frames of one publish to an exchange with a routing key, mandatory, each of `most` bytes at the most."""
    room = most - FRAMING_BYTES
    parts = (body,) if len(body) <= room else [body[at : at + room] for at in range(0, len(body), room)]
    frames = [_publish(channel, *place), _frame(HEADER, channel, header)]
    for part in parts:
        frames += (HEAD.pack(BODY, channel, len(part)), part, END)
    return frames if body else frames[:2]


@lru_cache(maxsize=1024)
def _publish(channel: int, exchange: str, routing_key: str) -> bytes:
    names = encode.short_string(exchange) + encode.short_string(routing_key)
    return _frame(METHOD, channel, _PUBLISH.pack(60, 40, 0) + names + MANDATORY)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return HEAD.pack(kind, channel, len(payload)) + payload + END
