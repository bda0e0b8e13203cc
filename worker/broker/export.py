"""The topology as RabbitMQ definitions.

Source: https://www.rabbitmq.com/docs/definitions
"""

from typing import Any

from worker.broker.topology import Binding, Topology

Json = dict[str, Any]


def definitions(topology: Topology, vhost: str) -> Json:
    """RabbitMQ definitions for `rabbitmqctl import_definitions`, a boot file, or the management API.

    Importing skips an exchange or queue that exists, even with other arguments. The virtual host must exist: were it
    among the definitions, importing them would empty its description and tags.
    """
    lasting = {"vhost": vhost, "durable": True, "auto_delete": False}
    return {
        "exchanges": [
            {"name": each.name, "type": each.type, "internal": False, "arguments": each.arguments} | lasting
            for each in topology.exchanges
        ],
        "queues": [{"name": each.name, "arguments": each.arguments} | lasting for each in topology.queues],
        "bindings": [_binding_definition(each, vhost) for each in topology.bindings],
    }


def _binding_definition(binding: Binding, vhost: str) -> Json:
    ends = {"source": binding.exchange, "destination": binding.queue, "destination_type": "queue"}
    return ends | {"vhost": vhost, "routing_key": binding.key, "arguments": {}}
