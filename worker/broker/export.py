"""The topology, and the users with their rights, as RabbitMQ definitions.

Source: https://www.rabbitmq.com/docs/definitions
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from consumers.messages import EVENTS
from worker.broker.topology import Binding, Topology
from worker.broker.users import User

SALT_BYTES: Final = 4
HASHING: Final = "rabbit_password_hashing_sha256"

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


def access(users: Iterable[User], vhost: str, passwords: Mapping[str, str]) -> Json:
    """What `users` may do in the virtual host, and the users themselves, those that have one of `passwords` (by name).

    One without is left out, and must be there before: imported without a hash, it would lose the password it has.
    """
    users = tuple(users)
    known = [user for user in users if user.name in passwords]
    return {
        "users": [_user_definition(user, passwords[user.name]) for user in known],
        "permissions": [_permission(user, vhost) for user in users],
        "topic_permissions": [
            {"user": user.name, "vhost": vhost, "exchange": EVENTS, "write": topics.write, "read": topics.read}
            for user in users
            if (topics := user.topics) is not None
        ],
    }


def password_hash(password: str, salt: bytes) -> str:
    """The hash that RabbitMQ keeps (https://www.rabbitmq.com/docs/passwords)."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _user_definition(user: User, password: str) -> Json:
    hashed = {"password_hash": password_hash(password, os.urandom(SALT_BYTES)), "hashing_algorithm": HASHING}
    return {"name": user.name, "tags": [*user.tags]} | hashed


def _permission(user: User, vhost: str) -> Json:
    rights = {"configure": user.configure, "write": user.write, "read": user.read}
    return {"user": user.name, "vhost": vhost} | rights


def _binding_definition(binding: Binding, vhost: str) -> Json:
    ends = {"source": binding.exchange, "destination": binding.queue, "destination_type": "queue"}
    return ends | {"vhost": vhost, "routing_key": binding.key, "arguments": {}}
