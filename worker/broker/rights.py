"""What the user of a connection may not do, found out without changing anything on the broker.

A right to publish is asked for in a transaction that is rolled back; one to consume by a consumer with an impossible
priority, which RabbitMQ refuses after it has looked at the rights (measured on 3.10.8); one to declare by declaring
what is there already. A broker that took such a consumer would lose it with its channel, one delivery at most in hand.
Source: https://www.rabbitmq.com/docs/access-control
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel as Underlay
from aiormq.exceptions import ChannelAccessRefused, ChannelClosed

from consumers.messages import DEAD, ENRICH, EVENTS, UNROUTED
from worker.broker.topology import Exchange, Topology
from worker.broker.users import Right, User

STEP_S: Final = 5.0
DECLARE: Final = "declare exchanges and queues"
Attempt = Callable[[Underlay], Awaitable[object]]


async def refused_rights(connection: AbstractConnection, topology: Topology, user: User | None = None) -> list[str]:
    """Each thing that this user may not do, in words that follow "may not". Raises `AMQPError` and `OSError`.

    What is missing on the broker is passed over: that is the topology's trouble. So is what one of a role's users is
    not to have.
    """
    attempts = [(what, attempt) for what, right, name, attempt in _attempts(topology) if _is_due(user, right, name)]
    return [what for what, attempt in attempts if await _is_refused(connection, attempt)]


def _is_due(user: User | None, right: Right, name: str) -> bool:
    """Whether the user is to have that right; one to publish certain keys alone is not tried out."""
    return user is None or (user.may(right, name) and not (right == "write" and name == EVENTS and user.topics))


def _attempts(topology: Topology) -> Iterator[tuple[str, Right, str, Attempt]]:
    tiers = [each.name for each in topology.exchanges if each.type == "fanout" and each.name.startswith("calls.retry.")]
    for name in (EVENTS, DEAD, *tiers):
        yield f"publish to {name}", "write", name, _publish(name)
    for name in _examples(topology):
        yield f"consume {name}", "read", name, _consume(name)
    events = next(each for each in topology.exchanges if each.name == EVENTS)
    yield DECLARE, "configure", EVENTS, _declare(events)


def _examples(topology: Topology) -> Iterator[str]:
    """One queue of each kind that roles take from: rights are patterns, and each attempt is a line in its log."""
    consumed = [queue.name for queue in topology.queues if queue.is_consumed]
    yield from (name for name in consumed[:1] if name.startswith(ENRICH))
    yield from [name for name in consumed if not name.startswith(ENRICH)][:1]
    yield UNROUTED


async def _is_refused(connection: AbstractConnection, attempt: Attempt) -> bool:
    channel = await connection.channel(publisher_confirms=False)
    try:
        async with asyncio.timeout(STEP_S):
            await attempt(await channel.get_underlay_channel())
    except ChannelAccessRefused:
        return True
    except ChannelClosed:  # missing, or refused for another reason: the right is not the trouble
        return False
    finally:
        if not channel.is_closed:
            await channel.close()
    return False


def _publish(exchange: str) -> Attempt:
    async def publish(channel: Underlay) -> None:
        await channel.tx_select()
        await channel.basic_publish(b"", exchange=exchange, routing_key="aftercall.doctor")
        await channel.tx_rollback()

    return publish


def _consume(queue: str) -> Attempt:
    async def consume(channel: Underlay) -> None:
        await channel.basic_qos(prefetch_count=1)
        await channel.basic_consume(queue, _ignore, arguments={"x-priority": "none"})

    return consume


async def _ignore(_message: object) -> None:
    """Never called: no consumer of such a priority comes to be."""


def _declare(exchange: Exchange) -> Attempt:
    async def declare(channel: Underlay) -> None:
        await channel.exchange_declare(exchange.name, passive=True)
        await channel.exchange_declare(
            exchange.name, exchange_type=exchange.type, durable=True, arguments=exchange.arguments
        )

    return declare
