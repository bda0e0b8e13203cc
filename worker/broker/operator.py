"""The topology, and the users with their rights, as resources of RabbitMQ's Messaging Topology Operator.

Source: https://www.rabbitmq.com/kubernetes/operator/using-topology-operator
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from consumers.messages import EVENTS
from worker.broker.topology import Binding, Queue, Topology
from worker.broker.users import User

Json = dict[str, Any]


def topology_resources(topology: Topology, vhost: str, cluster: str) -> Iterator[Json]:
    """The exchanges, queues and bindings, for the `RabbitmqCluster` of that name.

    A queue outlives its resource: by default the operator would delete it with all that is in it.
    """
    return _resources(_declared(topology, vhost), cluster)


def user_resources(users: Iterable[User], vhost: str, cluster: str) -> Iterator[Json]:
    """The users and their rights, for the `RabbitmqCluster` of that name, whoever declares the topology.

    A user's password is that of the Secret `<user>-rabbitmq`, whose keys are username and password.
    """
    return _resources((each for user in users for each in _access(user, vhost)), cluster)


def as_yaml(documents: Iterable[Json]) -> str:
    """The documents in YAML: mappings as blocks, all else as JSON, which is YAML too."""
    return "".join(f"---\n{''.join(_lines(document, 0))}" for document in documents)


def _resources(specs: Iterable[tuple[str, str, Json]], cluster: str) -> Iterator[Json]:
    reference = {"rabbitmqClusterReference": {"name": cluster}}
    for kind, name, spec in specs:
        yield {
            "apiVersion": "rabbitmq.com/v1beta1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec | reference,
        }


def _declared(topology: Topology, vhost: str) -> Iterator[tuple[str, str, Json]]:
    lasting = {"vhost": vhost, "durable": True, "autoDelete": False}
    for exchange in topology.exchanges:
        spec = {"name": exchange.name, "type": exchange.type, "arguments": exchange.arguments}
        yield "Exchange", exchange.name, spec | lasting
    for queue in topology.queues:
        yield "Queue", queue.name, _queue(queue) | lasting
    for binding in topology.bindings:
        yield "Binding", _name(binding), _binding(binding, vhost)


def _queue(queue: Queue) -> Json:
    arguments = dict(queue.arguments)
    type_ = arguments.pop("x-queue-type")  # which the operator adds, from the field
    return {"name": queue.name, "type": type_, "arguments": arguments, "deletionPolicy": "retain"}


def _binding(binding: Binding, vhost: str) -> Json:
    ends = {"source": binding.exchange, "destination": binding.queue, "destinationType": "queue"}
    return {"vhost": vhost, "routingKey": binding.key} | ends


def _name(binding: Binding) -> str:
    """A name for a binding: a pattern has characters that a resource's name may not have."""
    digest = hashlib.sha256(f"{binding.exchange} {binding.key}".encode()).hexdigest()
    return f"{binding.queue}-{digest[:8]}"


def _access(user: User, vhost: str) -> Iterator[tuple[str, str, Json]]:
    credentials = {"importCredentialsSecret": {"name": f"{user.name}-rabbitmq"}}
    yield "User", user.name, ({"tags": [*user.tags]} if user.tags else {}) | credentials
    whose = {"vhost": vhost, "userReference": {"name": user.name}}
    rights = {"configure": user.configure, "write": user.write, "read": user.read}
    yield "Permission", user.name, whose | {"permissions": rights}
    if (topics := user.topics) is not None:
        keys = {"exchange": EVENTS, "write": topics.write, "read": topics.read}
        yield "TopicPermission", user.name, whose | {"permissions": keys}


def _lines(value: Json, depth: int) -> Iterator[str]:
    for key, each in value.items():
        if isinstance(each, dict) and each:
            yield f"{'  ' * depth}{key}:\n"
            yield from _lines(each, depth + 1)
        else:
            yield f"{'  ' * depth}{key}: {orjson.dumps(each).decode()}\n"
