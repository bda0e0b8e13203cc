"""Every exchange, queue and binding, as data derived from the settings. Nothing else declares anything.

What keeps messages safe is in queue arguments, where a difference is a loud error; capacity (lengths, timeouts) is left
to policies. A changed argument means a queue of another name, never a deletion.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from consumers.alerts.bindings import bindings_of
from consumers.messages import DEAD, ENRICH, EVENTS, REQUEUE, RETRY, UNROUTED, WEBHOOK
from consumers.settling import tier_name
from worker.settings import Settings
from worker.settings.fields import EVERY_CALL

DELIVERY_LIMIT: Final = 100
"""How often a message may be lost by crashing consumers; each restart of a worker counts one for all it had in hand."""
NO_LIMIT: Final = 2**31 - 1
"""RabbitMQ 4.x limits deliveries to 20 unless told otherwise, and takes no negative number as an argument."""

BUILT_IN: Final[Mapping[str, tuple[str, ...]]] = {
    "ledger": (*EVERY_CALL, "call.noted.#"),
    "postcall": EVERY_CALL,
    "crm": EVERY_CALL,
    "forward": EVERY_CALL,
}


class Exchange(msgspec.Struct, frozen=True):
    """A durable exchange."""

    name: str
    type: Literal["topic", "direct", "fanout"]
    arguments: dict[str, Any] = {}


class Queue(msgspec.Struct, frozen=True):
    """A durable quorum queue. `is_consumed` tells those that need a consumer from those that only keep."""

    name: str
    arguments: dict[str, Any]
    is_consumed: bool = False


class Binding(msgspec.Struct, frozen=True):
    """What an exchange hands to a queue."""

    exchange: str
    queue: str
    key: str = ""


class Topology(msgspec.Struct, frozen=True):
    """All there is to be on the broker, in an order in which it can be declared."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]

    def only(self, queue: str) -> "Topology":
        """The part that one consumed queue rests on: itself, its dead letters, and how both are reached.

        No exchange: declared anew it would lack the other queues' bindings. Whoever publishes sees to exchanges.
        """
        names = {queue, dead_queue(queue)}
        queues = tuple(each for each in self.queues if each.name in names)
        return Topology((), queues, tuple(each for each in self.bindings if each.queue in names))


def enrich_queue(account: str) -> str:
    """The queue in which an account's notifications wait."""
    return ENRICH + account


def subscriber_queue(name: str) -> str:
    """The queue of a subscriber."""
    return f"{EVENTS}.{name}"


def dead_queue(queue: str) -> str:
    """Where the dead letters of a queue lie."""
    return f"{queue}.dead"


def topology_of(settings: Settings) -> Topology:
    """What the settings ask for: the exchanges, the accounts' and subscribers' queues, the tiers, the dead letters."""
    consumed: dict[str, tuple[str, ...]] = {}
    consumed |= {enrich_queue(account.name): (f"call.ended.{account.name}",) for account in settings.accounts}
    consumed |= {subscriber_queue(name): _patterns(name, settings) for name in settings.subscribers}
    consumed |= {subscriber_queue(name): patterns for name, patterns in settings.bindings.items()}
    tiers = {tier_name(wait_s): wait_s for wait_s in settings.retry_tiers_s}
    return Topology(
        tuple(_exchanges(tiers)),
        (*_keeping_queues(consumed), *_consumed_queues(consumed), *_tier_queues(tiers)),
        tuple(_bindings(consumed, tiers)),
    )


def _patterns(name: str, settings: Settings) -> tuple[str, ...]:
    return bindings_of(settings.alerts) if name == "alerts" else BUILT_IN[name]


def _exchanges(tiers: Iterable[str]) -> Iterable[Exchange]:
    unrouted = {"alternate-exchange": UNROUTED}
    yield Exchange(UNROUTED, "fanout")
    yield Exchange(EVENTS, "topic", unrouted)
    yield Exchange(DEAD, "direct", unrouted)
    # Tiers share 32 places for what is on its way back; a missing queue's messages would fill them for everyone.
    yield Exchange(REQUEUE, "direct", unrouted)
    yield from (Exchange(RETRY + tier, "fanout") for tier in tiers)


def _keeping_queues(consumed: Iterable[str]) -> Iterable[Queue]:
    for name in (UNROUTED, dead_queue(WEBHOOK), *map(dead_queue, consumed)):
        yield Queue(name, {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT})


def _consumed_queues(consumed: Iterable[str]) -> Iterable[Queue]:
    for name in consumed:
        dead_lettering = _safely_to(DEAD) | {"x-dead-letter-routing-key": name}
        yield Queue(name, dead_lettering | {"x-delivery-limit": DELIVERY_LIMIT}, is_consumed=True)


def _tier_queues(tiers: Mapping[str, int]) -> Iterable[Queue]:
    for tier, wait_s in tiers.items():
        yield Queue(RETRY + tier, _safely_to(REQUEUE) | {"x-message-ttl": wait_s * 1000, "x-delivery-limit": NO_LIMIT})


def _safely_to(exchange: str) -> dict[str, Any]:
    """Arguments that move dead-lettered messages with confirms; without reject-publish RabbitMQ silently would not."""
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _bindings(consumed: Mapping[str, tuple[str, ...]], tiers: Iterable[str]) -> Iterable[Binding]:
    yield Binding(UNROUTED, UNROUTED)
    yield Binding(DEAD, dead_queue(WEBHOOK), WEBHOOK)
    # The ledger's last: an event that passes while a deleted exchange is made anew, and that not every queue gets,
    # is then not in the ledger either, and the sweep sends its call in again.
    for queue, patterns in sorted(consumed.items(), key=lambda each: each[0] == subscriber_queue("ledger")):
        yield from (Binding(EVENTS, queue, pattern) for pattern in patterns)
        yield Binding(REQUEUE, queue, queue)
        yield Binding(DEAD, dead_queue(queue), queue)
    yield from (Binding(RETRY + tier, RETRY + tier) for tier in tiers)
