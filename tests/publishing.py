"""Enriched calls published by a plain AMQP client, as the enricher would."""

import asyncio
from collections.abc import Sequence

import aio_pika

from consumers.enriched import emission
from consumers.messages import Message
from tests.unit.builders import enriched_call

AT = 1_800_000_000.0


def emitted(call_id: str, **changes: object) -> Message:
    """The event of an enriched call."""
    call = {"id": call_id, "status": "ended", "artifact": {"transcript": "AI: Hello.\nUser: Hi.\n"}}
    return emission(
        enriched_call(callId=call_id, **({"call": call} | changes)), source="webhook", emitted_at=AT, trace={}
    )


async def publish(amqp_url: str, messages: Sequence[Message]) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("calls", ensure=False)
        for start in range(0, len(messages), 50):
            some = messages[start : start + 50]
            await asyncio.gather(*(exchange.publish(envelope(each), each.routing_key) for each in some))


def envelope(message: Message) -> aio_pika.Message:
    headers = dict(message.headers)
    return aio_pika.Message(
        message.body,
        headers=headers,
        type=message.type,
        correlation_id=message.call_id,
        content_encoding=message.content_encoding,
        delivery_mode=2,
    )
