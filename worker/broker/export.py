"""The topology in forms that others read: RabbitMQ definitions, and AsyncAPI 3.0 with AMQP 0-9-1 bindings 0.3.0.

Sources: https://www.rabbitmq.com/docs/definitions, https://www.asyncapi.com/docs/reference/specification/v3.0.0 and
https://www.asyncapi.com/docs/reference/bindings/amqp
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.resources import files
from itertools import product
from typing import Any, Final

import orjson
from yarl import URL

from consumers.ended_reasons import RULES, UNKNOWN
from consumers.enriched import AMENDED, ENRICHED
from consumers.messages import END_OF_CALL_REPORT, EVENTS, OURS
from consumers.notifications import CALL_ENDED
from worker.broker.live import vhost_of
from worker.broker.topology import Binding, Exchange, Queue, Topology
from worker.settings import Settings

Json = dict[str, Any]
NOTED: Final = "call.noted"
NOTES: Final = ("retried", "held", "parked", "dead", "replayed", "discarded", "swept", "asked")
OUTCOMES: Final = (*((result, reason) for reason, result, _ in RULES), (UNKNOWN, UNKNOWN))
ADDRESSES: Final = {
    CALL_ENDED: "call.ended.{account}",
    ENRICHED: "call.enriched.{account}.{result}.{reason}",
    AMENDED: "call.amended.{account}.{result}.{reason}",
    NOTED: "call.noted.{account}.{what}",
}
SUMMARIES: Final = {
    CALL_ENDED: "A call has ended: the webhook's bytes, untouched.",
    ENRICHED: "A call as Vapi's API and webhook tell it together, the first time it goes out.",
    AMENDED: "The same call again, knowing more: version 2 and up.",
    NOTED: "What happened to a call on its way. It has no body: the headers are the whole of it.",
}
AMQP: Final[Json] = {"bindingVersion": "0.3.0"}
TEXT: Final[Json] = {"type": "string"}
INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
COUNT: Final[Json] = {"type": "integer", "minimum": 1}


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


def enriched_call_schema() -> Json:
    """The JSON Schema of the enriched call, as it ships beside the consumers."""
    schema: Json = orjson.loads(files("consumers").joinpath("enriched_call.schema.json").read_bytes())
    return schema


def asyncapi(topology: Topology, settings: Settings) -> Json:
    """The AsyncAPI document of an installation: its events, and the queues of those who consume them."""
    vhost = vhost_of(URL(settings.amqp_url.each()[0]))
    consumed = [queue for queue in topology.queues if queue.is_consumed]
    events = next(exchange for exchange in topology.exchanges if exchange.name == EVENTS)
    channels = {event: _event_channel(event, events, settings, vhost) for event in ADDRESSES}
    channels |= {queue.name: _queue_channel(queue, topology, settings, vhost) for queue in consumed}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Aftercall",
            "version": version("aftercall"),
            "description": "The end of every voice call on Vapi, complete, to everything that acts on calls.",
        },
        "servers": dict(_servers(settings)),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {f"send.{event}": _operation("send", event, channels[event]) for event in ADDRESSES}
        | {f"receive.{each.name}": _operation("receive", each.name, channels[each.name]) for each in consumed},
        "components": _components(),
    }


def _components() -> Json:
    schema = {key: value for key, value in enriched_call_schema().items() if not key.startswith("$")}
    return {
        "messages": {event: _message(event) for event in ADDRESSES},
        "schemas": {"EnrichedCall": schema, "EndOfCallReport": _report_schema()},
    }


def _servers(settings: Settings) -> Iterator[tuple[str, Json]]:
    for number, url in enumerate(map(URL, settings.amqp_url.each()), start=1):
        host = f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}"
        yield (
            f"broker{number}",
            {"host": host, "pathname": url.raw_path, "protocol": url.scheme, "protocolVersion": "0-9-1"},
        )


def _event_channel(event: str, exchange: Exchange, settings: Settings, vhost: str) -> Json:
    lasting = {"durable": True, "autoDelete": False, "vhost": vhost}
    return {
        "address": ADDRESSES[event],
        "description": SUMMARIES[event],
        "messages": {event: {"$ref": f"#/components/messages/{event}"}},
        "parameters": _parameters(event, settings),
        "bindings": {
            "amqp": {"is": "routingKey", "exchange": {"name": exchange.name, "type": exchange.type} | lasting} | AMQP
        },
        **_extensions(exchange.arguments),
    }


def _parameters(event: str, settings: Settings) -> Json:
    known = {
        "account": {"description": "The Vapi organisation.", "enum": [account.name for account in settings.accounts]},
        "result": {"description": "What became of the call.", "enum": sorted({result for result, _ in OUTCOMES})},
        "reason": {"description": "The class of Vapi's endedReason.", "enum": [reason for _, reason in OUTCOMES]},
        "what": {"description": "What happened.", "enum": list(NOTES)},
    }
    return {name: parameter for name, parameter in known.items() if f"{{{name}}}" in ADDRESSES[event]}


def _queue_channel(queue: Queue, topology: Topology, settings: Settings, vhost: str) -> Json:
    patterns = [each.key for each in topology.bindings if each.queue == queue.name and each.exchange == EVENTS]
    lasting = {"durable": True, "exclusive": False, "autoDelete": False, "vhost": vhost}
    return {
        "address": queue.name,
        "description": f"What exchange {EVENTS} routes by {', '.join(patterns)}; retried deliveries come back to it.",
        "messages": {event: {"$ref": f"#/components/messages/{event}"} for event in events_of(patterns, settings)},
        "bindings": {"amqp": {"is": "queue", "queue": {"name": queue.name} | lasting} | AMQP},
        "x-bindings": [
            {"exchange": each.exchange, "key": each.key} for each in topology.bindings if each.queue == queue.name
        ],
        **_extensions(queue.arguments),
    }


def _extensions(arguments: Json) -> Json:
    """The arguments, which the AMQP bindings have no place for, under names that AsyncAPI lets through."""
    return {f"x-{key.removeprefix('x-')}": value for key, value in arguments.items()}


def events_of(patterns: Sequence[str], settings: Settings) -> list[str]:
    """Which events a queue bound to exchange `calls` by these patterns can get."""
    return [
        event
        for event in ADDRESSES
        if any(matches(pattern, key) for pattern, key in product(patterns, _routing_keys(event, settings)))
    ]


def _routing_keys(event: str, settings: Settings) -> Iterator[str]:
    for account in settings.accounts:
        for (result, reason), what in product(OUTCOMES, NOTES):
            yield ADDRESSES[event].format(account=account.name, result=result, reason=reason, what=what)


def matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange routes `key` to a binding of `pattern`: `*` is one word, `#` any number of them."""
    return _match(pattern.split("."), key.split("."))


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])


def _operation(action: str, channel: str, described: Json) -> Json:
    settling = {"deliveryMode": 2, "mandatory": True, "timestamp": True} if action == "send" else {"ack": True}
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{event}"} for event in described["messages"]],
        "bindings": {"amqp": settling | AMQP},
    }


def _message(event: str) -> Json:
    payload = {CALL_ENDED: "EndOfCallReport", ENRICHED: "EnrichedCall", AMENDED: "EnrichedCall"}.get(event)
    return {
        "name": event,
        "summary": SUMMARIES[event],
        "description": "A body over 1 MiB travels gzipped, and the property content_encoding says so.",
        "headers": _headers(event),
        "correlationId": {"location": "$message.header#/ce-subject", "description": "The call's id."},
        "bindings": {"amqp": {"messageType": event} | AMQP},
    } | ({"payload": {"$ref": f"#/components/schemas/{payload}"}} if payload else {})


def _headers(event: str) -> Json:
    """CloudEvents 1.0 in binary mode, as `consumers.messages.event_headers` writes it, and our own."""
    cloud: Json = {
        "ce-specversion": {"const": "1.0"},
        "ce-id": TEXT | {"description": "Names the content: drop what you have seen under the same id."},
        "ce-type": {"const": event},
        "ce-source": TEXT | {"pattern": "^/accounts/[a-z0-9-]{1,40}$"},
        "ce-subject": TEXT | {"description": "The call's id."},
        "ce-time": INSTANT,
    }
    ours = {f"{OURS}{name}": schema for name, schema in _our_headers(event).items()}
    required = [*cloud, *ours]
    if event == NOTED:
        required.remove("ce-subject")
    return {
        "type": "object",
        "required": required,
        "properties": cloud | ours | {"traceparent": TEXT | {"description": "W3C Trace Context."}},
    }


def _our_headers(event: str) -> Json:
    account = {"account": TEXT | {"description": "The Vapi organisation."}}
    if event == NOTED:
        return account
    arrived = account | {
        "source": {"enum": ["webhook", "sweep", "replay"], "description": "How the end of the call came in."},
        "received-at": INSTANT,
        "attempt": COUNT | {"description": "The attempt of this delivery, from 1."},
    }
    versions: Json = {ENRICHED: {"const": 1}, AMENDED: {"type": "integer", "minimum": 2}}
    return arrived | ({"version": versions[event]} if event in versions else {})


def _report_schema() -> Json:
    """What every notification has; the rest is Vapi's end-of-call-report, which `aftercall` does not narrow."""
    call = {"type": "object", "required": ["id"], "properties": {"id": TEXT}}
    message: Json = {"type": "object", "required": ["type", "call"]}
    message |= {"properties": {"type": {"const": END_OF_CALL_REPORT}, "call": call}}
    return {"type": "object", "required": ["message"], "properties": {"message": message}}
