"""The channels: the events on exchange `calls`, the ways of what comes again or is dead, and the queues."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Final

from consumers.ended_reasons import RULES, UNKNOWN
from consumers.enriched import AMENDED, ENRICHED
from consumers.ledger import KINDS, NOTED
from consumers.messages import DEAD, EVENTS, REQUEUE, RETRY, UNROUTED
from consumers.notifications import CALL_ENDED
from worker.broker.asyncapi.messages import LETTER, SUMMARIES, Json
from worker.broker.topology import Exchange, Queue, Topology
from worker.settings import Settings

AMQP: Final[Json] = {"bindingVersion": "0.3.0"}
NOTES: Final = tuple(kind for kind in KINDS if kind not in ("enriched", "amended"))
OUTCOMES: Final = (*((result, reason) for reason, result, _ in RULES), (UNKNOWN, UNKNOWN))
ADDRESSES: Final = {
    CALL_ENDED: "call.ended.{account}",
    ENRICHED: "call.enriched.{account}.{result}.{reason}",
    AMENDED: "call.amended.{account}.{result}.{reason}",
    NOTED: "call.noted.{account}.{what}",
}
WAYS: Final = {
    DEAD: "To the dead letters of the queue that the routing key names.",
    REQUEUE: "Back to the queue that the routing key names: from a tier, or by a replay.",
}
WAITING: Final = (
    "What is to come again waits here. It is published to the exchange of the same name, the routing key being the"
    " queue it came from, and is dead-lettered to calls.requeue when its time is over. Nobody consumes it."
)
DEAD_LETTERS: Final = "What could not be handled, until somebody replays or discards it. Nobody consumes it."


def event_channels(topology: Topology, settings: Settings, vhost: str) -> Json:
    """A channel for each event: the routing keys it may have on exchange `calls`."""
    return {
        event: {
            "address": ADDRESSES[event],
            "description": SUMMARIES[event],
            "messages": _references([event]),
            "parameters": _parameters(ADDRESSES[event], settings, topology),
            **_of_exchange(_exchange(topology, EVENTS), vhost),
            "x-routing-keys": sorted(set(_routing_keys(event, ["{account}"]))),
        }
        for event in ADDRESSES
    }


def way_channels(topology: Topology, settings: Settings, vhost: str) -> Json:
    """A channel for each exchange that takes a message to one queue, which the routing key names; and the tiers."""
    ways = {
        name: {
            "address": "{queue}",
            "description": description,
            "messages": _references([LETTER] if name == DEAD else ADDRESSES),
            "parameters": _parameters("{queue}", settings, topology),
            **_of_exchange(_exchange(topology, name), vhost),
        }
        for name, description in WAYS.items()
    }
    tiers = [queue for queue in topology.queues if queue.name.startswith(RETRY)]
    return ways | {queue.name: _queue_channel(queue, topology, settings, vhost) for queue in tiers}


def queue_channels(topology: Topology, settings: Settings, vhost: str) -> Json:
    """A channel for each queue."""
    return {queue.name: _queue_channel(queue, topology, settings, vhost) for queue in topology.queues}


def _exchange(topology: Topology, name: str) -> Exchange:
    return next(exchange for exchange in topology.exchanges if exchange.name == name)


def _of_exchange(exchange: Exchange, vhost: str) -> Json:
    told = {"name": exchange.name, "type": exchange.type, "durable": True, "autoDelete": False, "vhost": vhost}
    return {"bindings": {"amqp": {"is": "routingKey", "exchange": told} | AMQP}, **_extensions(exchange.arguments)}


def _references(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _parameters(address: str, settings: Settings, topology: Topology) -> Json:
    consumed = [queue.name for queue in topology.queues if queue.is_consumed]
    known = {
        "account": ("The Vapi organisation.", [account.name for account in settings.accounts]),
        "result": ("What became of the call.", sorted({result for result, _ in OUTCOMES})),
        "reason": ("The class of Vapi's endedReason.", [reason for _, reason in OUTCOMES]),
        "what": ("What happened.", list(NOTES)),
        "queue": ("The queue it came from.", consumed),
    }
    return {
        name: {"description": description, "enum": values}
        for name, (description, values) in known.items()
        if f"{{{name}}}" in address
    }


def _queue_channel(queue: Queue, topology: Topology, settings: Settings, vhost: str) -> Json:
    patterns = [each.key for each in topology.bindings if each.queue == queue.name and each.exchange == EVENTS]
    lasting = {"durable": True, "exclusive": False, "autoDelete": False, "vhost": vhost}
    return {
        "address": queue.name,
        "description": _description(queue, patterns),
        "messages": _references(_messages_in(queue, patterns, settings)),
        "bindings": {"amqp": {"is": "queue", "queue": {"name": queue.name} | lasting} | AMQP},
        "x-bindings": [
            {"exchange": each.exchange, "key": each.key} for each in topology.bindings if each.queue == queue.name
        ],
        **_extensions(queue.arguments),
    }


def _description(queue: Queue, patterns: Sequence[str]) -> str:
    if queue.is_consumed:
        return (
            f"What exchange {EVENTS} routes by {', '.join(patterns)}; what is tried again or replayed comes back to it."
        )
    if queue.name.startswith(RETRY):
        return WAITING
    return "What no queue took." if queue.name == UNROUTED else DEAD_LETTERS


def _messages_in(queue: Queue, patterns: Sequence[str], settings: Settings) -> list[str]:
    if queue.is_consumed:
        return events_of(patterns, settings)
    if queue.name.startswith(RETRY):
        return list(ADDRESSES)
    return [*ADDRESSES, LETTER] if queue.name == UNROUTED else [LETTER]


def _extensions(arguments: Json) -> Json:
    """The arguments, which the AMQP bindings have no place for, under names that AsyncAPI lets through."""
    return {f"x-{key.removeprefix('x-')}": value for key, value in arguments.items()}


def events_of(patterns: Sequence[str], settings: Settings) -> list[str]:
    """Which events a queue bound to exchange `calls` by these patterns can get."""
    accounts = [account.name for account in settings.accounts]
    return [
        event
        for event in ADDRESSES
        if any(matches(pattern, key) for pattern, key in product(patterns, _routing_keys(event, accounts)))
    ]


def _routing_keys(event: str, accounts: Iterable[str]) -> Iterator[str]:
    for account, (result, reason), what in product(accounts, OUTCOMES, NOTES):
        yield ADDRESSES[event].format(account=account, result=result, reason=reason, what=what)


def matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange routes `key` to a binding of `pattern`: `*` is one word, `#` any number of them."""
    return _match(pattern.split("."), key.split("."))


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])
