"""What spans are called and what they tell, by OpenTelemetry's conventions of August 2026.

None of it is an exception's words, a URL or an address, which may be about a person; a call's id is none of these.
Sources: https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/ and https://opentelemetry.io/docs/specs/semconv/http/http-spans/.
"""

from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from consumers.messages import OURS, Message


def of_message(message: Message, template: str) -> dict[str, Any]:
    """The attributes of a publish."""
    return _known(
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": f"{message.exchange}:{message.routing_key}".strip(":"),
            "messaging.destination.template": template,
            "messaging.rabbitmq.destination.routing_key": message.routing_key,
            "messaging.message.conversation_id": message.call_id,
            "messaging.message.body.size": len(message.body),
        }
    )


def of_delivery(incoming: AbstractIncomingMessage, queue: str) -> dict[str, Any]:
    """The attributes of a delivery."""
    key = incoming.routing_key or ""
    names = (incoming.exchange or "", key, queue if queue != key else "")
    attempt = incoming.headers.get(f"{OURS}attempt")
    return _known(
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": ":".join(filter(None, names)),
            "messaging.destination.template": queue,
            "messaging.rabbitmq.destination.routing_key": key,
            "messaging.rabbitmq.message.delivery_tag": incoming.delivery_tag,
            "messaging.message.id": incoming.message_id,
            "messaging.message.conversation_id": incoming.correlation_id,
            "messaging.message.body.size": len(incoming.body),
            "aftercall.attempt": attempt if isinstance(attempt, int) else None,
        }
    )


def of_request(method: str, url: URL) -> tuple[str, dict[str, Any]]:
    """The name and attributes of a request; a path that is not Vapi's is left out, for it may hold an address."""
    *_, parent, last = ("", *url.raw_path.split("/"))
    template = "/call" if last == "call" else "/call/{id}" if parent == "call" else ""
    told = {
        "http.request.method": method,
        "url.template": template,
        "server.address": url.host,
        "server.port": url.port,
    }
    return f"{method} {template}".strip(), _known(told)


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if value not in (None, "")}
