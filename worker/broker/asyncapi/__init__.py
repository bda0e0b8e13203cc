"""An installation's AsyncAPI 3.0 document with AMQP 0-9-1 bindings 0.3.0, from the tables that the code works by.

Sources: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and
https://www.asyncapi.com/docs/reference/bindings/amqp
"""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from yarl import URL

from worker.broker.asyncapi.channels import AMQP, event_channels, queue_channels, way_channels
from worker.broker.asyncapi.messages import Json, messages, schemas
from worker.broker.management import vhost_of
from worker.broker.topology import Topology
from worker.settings import Settings

DESCRIPTION: Final = """The end of every voice call on Vapi, complete, to everything that acts on calls.

Consume from a queue of your own with manual acknowledgements. What you cannot handle, reject without requeue: it then
lies in `<queue>.dead`, where `aftercall dead` shows and replays it. Any event may come twice, under one `ce-id`. Pass
over the headers and fields that you do not know. What may be added, and what never changes, is in docs/contracts.md."""


def asyncapi(topology: Topology, settings: Settings) -> Json:
    """The AsyncAPI document: the events, the ways of what comes again or is dead, and every queue."""
    vhost = vhost_of(URL(settings.amqp_url.each()[0]))
    sent = event_channels(topology, settings, vhost) | way_channels(topology, settings, vhost)
    kept = queue_channels(topology, settings, vhost)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Aftercall", "version": version("aftercall"), "description": DESCRIPTION},
        "servers": dict(_servers(settings)),
        "defaultContentType": "application/json",
        "channels": sent | kept,
        "operations": {f"send.{name}": _operation("send", name, sent[name]) for name in sent}
        | {f"receive.{name}": _operation("receive", name, kept[name]) for name in kept if name not in sent},
        "components": {"messages": messages(), "schemas": schemas()},
    }


def _servers(settings: Settings) -> Iterator[tuple[str, Json]]:
    for number, url in enumerate(map(URL, settings.amqp_url.each()), start=1):
        host = f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}"
        yield (
            f"broker{number}",
            {"host": host, "pathname": url.raw_path, "protocol": url.scheme, "protocolVersion": "0-9-1"},
        )


def _operation(action: str, channel: str, described: Json) -> Json:
    settling = {"deliveryMode": 2, "mandatory": True, "timestamp": True} if action == "send" else {"ack": True}
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in described["messages"]],
        "bindings": {"amqp": settling | AMQP},
    }
