"""How the topology and the live broker differ: a policy can undo what a queue's arguments promise."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from worker.broker.management import MEND_STATISTICS, Live, LiveExchange, LiveQueue, look
from worker.broker.topology import Binding, Exchange, Queue, Topology
from worker.settings import Settings


class Comparison(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the broker differs from the topology, what could not be compared, a sentence each, and what mends that."""

    differences: list[str]
    not_compared: list[str]
    mend: str = ""


async def compare(topology: Topology, settings: Settings) -> Comparison:
    """How the live broker differs from `topology`. Changes nothing; a policy newer than 10 s may be overlooked.

    Raises `ManagementUnavailable`.
    """
    live, unknown = await look(topology, settings)
    return Comparison(list(differences(topology, live)), unknown, MEND_STATISTICS if unknown else "")


def differences(topology: Topology, live: Live) -> Iterator[str]:
    """Each way in which `live` is not as `topology` asks, a sentence each, naming the thing and both values."""
    for exchange in topology.exchanges:
        yield from _exchange_differences(exchange, live.exchanges.get(exchange.name))
    for queue in topology.queues:
        yield from _queue_differences(queue, live.queues.get(queue.name))
    yield from _binding_differences(topology, live.bindings)
    yield from _policy_differences(topology, live.queues)


def _exchange_differences(asked: Exchange, found: LiveExchange | None) -> Iterator[str]:
    name = f"exchange {asked.name}"
    if found is None:
        yield f"{name} is missing: `aftercall topology apply` declares it"
        return
    if found.type != asked.type:
        yield f"{name} is of type {found.type} where {asked.type} is asked for"
    if found.internal:
        yield f"{name} is internal, so nobody can publish to it"
    yield from _lasting(name, found)
    yield from _argument_differences(name, asked.arguments, _mapping(found.arguments))


def _queue_differences(asked: Queue, found: LiveQueue | None) -> Iterator[str]:
    name = f"queue {asked.name}"
    if found is None:
        yield f"{name} is missing: `aftercall topology apply` declares it"
        return
    yield from _lasting(name, found)
    # A virtual host may have a default type: then the type is right and the argument absent.
    yield from _argument_differences(name, asked.arguments, _mapping(found.arguments) | {"x-queue-type": found.type})


def _lasting(name: str, found: LiveExchange | LiveQueue) -> Iterator[str]:
    if not found.durable:
        yield f"{name} is not durable: it ends when the broker restarts"
    if found.auto_delete:
        yield f"{name} deletes itself when it is used no more"


def _argument_differences(name: str, asked: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(asked.keys() | found.keys()):
        if key not in found:
            yield f"{name} lacks {key}, and {asked[key]} is asked for"
        elif key not in asked:
            yield f"{name} has {key} {found[key]}, and none is asked for"
        elif found[key] != asked[key]:
            yield f"{name} has {key} {found[key]}, and {asked[key]} is asked for"


def _policy_differences(topology: Topology, found: Mapping[str, LiveQueue]) -> Iterator[str]:
    """What the effective policies break, each kind of trouble once, with all the queues it is on."""
    troubled: dict[str, list[str]] = {}
    for asked in topology.queues:
        if (queue := found.get(asked.name)) is not None:
            for trouble in _policy_troubles(asked.arguments, _mapping(queue.effective_policy_definition)):
                troubled.setdefault(f"{_policies_of(queue)} sets {trouble}", []).append(asked.name)
    yield from (f"{trouble}, on {', '.join(names)}" for trouble, names in troubled.items())


def _policies_of(queue: LiveQueue) -> str:
    named = ((queue.policy, "policy"), (queue.operator_policy, "operator policy"))
    return " with ".join(f"{kind} {name}" for name, kind in named if name) or "a policy"


def _policy_troubles(own: Mapping[str, Any], policy: Mapping[str, Any]) -> Iterator[str]:
    """What a policy does to a queue that its `own` arguments were to prevent. A length that rejects is capacity.

    Who wins: of overflow the policy, of times and limits the smaller of policy and argument
    (https://www.rabbitmq.com/docs/policies).
    """
    overflow = policy.get("overflow", own.get("x-overflow", "drop-head"))
    if "x-dead-letter-strategy" in own and overflow != "reject-publish":
        yield f"overflow {overflow}, and dead-lettering is at-least-once only with reject-publish"
    elif overflow != "reject-publish" and (lengths := sorted(policy.keys() & {"max-length", "max-length-bytes"})):
        yield f"{' and '.join(lengths)} without overflow reject-publish, which drops the oldest messages"
    if "expires" in policy:
        yield f"expires {policy['expires']}, which deletes an unused queue with its messages"
    for key in ("message-ttl", "delivery-limit"):
        limit, asked = policy.get(key), own.get(f"x-{key}")
        if isinstance(limit, int) and (asked is None or limit < asked):
            yield f"{key} {limit}, and {'none' if asked is None else asked} is asked for"


def _binding_differences(topology: Topology, found: frozenset[Binding]) -> Iterator[str]:
    ours = {queue.name for queue in topology.queues}
    for binding in topology.bindings:
        if binding not in found:
            yield f"{_name(binding)} is missing: `aftercall topology apply` declares it"
    extra = {binding for binding in found if binding.queue in ours and binding.exchange} - set(topology.bindings)
    for binding in sorted(extra, key=_name):
        yield f"{_name(binding)} is not asked for: unbind it if it is a leftover"


def _name(binding: Binding) -> str:
    return f"binding of queue {binding.queue} to exchange {binding.exchange} by {binding.key!r}"


def _mapping(value: Any) -> dict[str, Any]:
    """An object of the API, which writes an empty one as a list at times."""
    return value if isinstance(value, dict) else {}
