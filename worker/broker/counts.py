"""What the broker says of its queues over AMQP: how many messages lie ready in each, and how many consumers it has."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

STEP_S: Final = 10.0


class Count(msgspec.Struct, frozen=True):
    """Messages that lie ready in a queue, and its consumers; those in the hands of consumers are in neither."""

    ready: int
    consumers: int


async def counts(connection: AbstractConnection, queues: Iterable[str]) -> Mapping[str, Count]:
    """The counts of those of the queues that there are. Raises `AMQPError` and `OSError`, timeouts among them.

    By passive declarations: management statistics are up to 10 s old, and need a plugin and a user with a tag.
    """
    found: dict[str, Count] = {}
    channel: AbstractChannel | None = None
    for name in queues:
        async with asyncio.timeout(STEP_S):
            if channel is None or channel.is_closed:
                channel = await connection.channel(publisher_confirms=False)
            try:
                told = (await channel.declare_queue(name, passive=True)).declaration_result
            except ChannelNotFoundEntity:  # which closes the channel
                continue
        found[name] = Count(told.message_count or 0, told.consumer_count or 0)
    if channel is not None and not channel.is_closed:
        await channel.close()
    return found
