"""Where an accepted message goes: to the broker, or while that does not take it, to the spool.

While the broker is known to be away a webhook costs a write to the disk, not a timeout:

    open ── a publish timed out, or 3 in a row failed for one destination ──▶ shut: everything to the spool
      ▲                                                                           │
      └──────────────── a publish of the drain succeeded, one at a time ◀─────────┘
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import msgspec

from consumers.messages import Message
from consumers.outcomes import TooLarge
from worker.broker.publisher import PublishFailed
from worker.ingress.spool.file import Record
from worker.ingress.spool.rows import Destination
from worker.ingress.spool.writer import SpoolFailed
from worker.operate.telemetry import logger

FAILURES_MAX: Final = 3
PAUSE_MIN_S: Final = 0.5
PAUSE_MAX_S: Final = 5.0

Accepted = Literal["published", "spooled"]
Act = Callable[[Message], Awaitable[None]]


class _Rest(msgspec.Struct):
    """A destination's failures in a row, and when the drain may try it again."""

    failures: int = 0
    pause_s: float = PAUSE_MIN_S
    until: float = 0.0

    @property
    def is_resting(self) -> bool:
        return self.failures >= FAILURES_MAX


class Gate:
    """Whether the broker takes messages, by how the publishes so far ended.

    A timeout shuts it for all: the broker is frozen or blocked by an alarm. Refusals, such as a queue without a quorum,
    rest their destination alone, so that one client's trouble delays no other's calls.
    """

    def __init__(self, is_connected: Callable[[], bool], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_connected = is_connected
        self._clock = clock
        self._rests: dict[Destination, _Rest] = {}
        self.is_shut = False

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at all."""
        return self._is_connected()

    def lets(self, message: Message) -> bool:
        """Whether a live message may be tried; of those that may not, only the drain sends one now and then."""
        rest = self._rests.get(destination_of(message))
        return self.is_connected and not self.is_shut and not (rest and rest.is_resting)

    def waiting(self) -> list[Destination]:
        """The destinations that the drain is to leave alone for now."""
        now = self._clock()
        return [destination for destination, rest in self._rests.items() if rest.is_resting and now < rest.until]

    def choose(self, records: Sequence[Record]) -> list[Record]:
        """Of the oldest records those to publish now: one while shut, one for a destination that rests, else all."""
        if self.is_shut:
            return list(records[:1])
        chosen, tried = [], set[Destination]()
        for record in records:
            destination = destination_of(record.message)
            rest = self._rests.get(destination)
            if not (rest and rest.is_resting) or destination not in tried:
                chosen.append(record)
            tried.add(destination)
        return chosen

    def succeeded(self, message: Message) -> None:
        """The broker took a message."""
        self._rests.pop(destination_of(message), None)
        if self.is_shut:
            self.is_shut = False
            logger().info("broker.takes_again")

    def failed(self, message: Message, error: PublishFailed) -> None:
        """The broker did not take a message. That it is away is known without this."""
        if not self.is_connected:
            return
        rest = self._rests.setdefault(destination_of(message), _Rest())
        is_timeout = isinstance(error.__cause__, TimeoutError)
        rest.failures = FAILURES_MAX if is_timeout else rest.failures + 1
        if rest.is_resting and self._clock() >= rest.until:
            rest.until = self._clock() + rest.pause_s
            rest.pause_s = min(PAUSE_MAX_S, rest.pause_s * 2)
        if is_timeout and not self.is_shut:
            self.is_shut = True
            logger().warning("broker.takes_nothing", detail=str(error))


class Keeper:
    """Sees an accepted message onto a disk: the broker's by `publish`, or ours by `keep`."""

    def __init__(self, publish: Act, keep: Act, gate: Gate) -> None:
        self._publish = publish
        self._keep = keep
        self._gate = gate

    async def accept(self, message: Message) -> Accepted:
        """Publish or spool a message. Raises `SpoolFailed` if neither takes it: only then is it not accepted."""
        is_tried = self._gate.lets(message)
        if is_tried and await self._is_published(message):
            return "published"
        try:
            await self._keep(message)
        except SpoolFailed:
            # A shut gate opens by the drain's tries, and a spool that takes nothing may have nothing to try with.
            if is_tried or not self._gate.is_connected or not await self._is_published(message):
                raise
            return "published"
        return "spooled"

    async def _is_published(self, message: Message) -> bool:
        try:
            await self._publish(message)
        except PublishFailed as error:
            self._gate.failed(message, error)
            return False
        except (TooLarge, TypeError, ValueError):  # it is the message: the drain sets it aside for an operator
            return False
        except Exception:  # noqa: BLE001  # a bug of ours is no reason to refuse a call
            logger().error("publish.failed", call_id=message.call_id, exc_info=True)
            return False
        self._gate.succeeded(message)
        return True


def destination_of(message: Message) -> Destination:
    """Where a message goes."""
    return message.exchange, message.routing_key
