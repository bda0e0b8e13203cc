"""Bring the broker to the topology, or find where it differs. Nothing is ever deleted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity, ChannelPreconditionFailed

from worker.broker.session import explain
from worker.broker.topology import Binding, Exchange, Queue, Topology

STEP_S: Final = 10.0
Step = Callable[[AbstractChannel], Awaitable[object]]


class TopologyDiffers(Exception):
    """The broker is not as the settings ask; `differences` says how, a sentence each."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__("; ".join(differences))
        self.differences = differences


async def apply(connection: AbstractConnection, topology: Topology) -> None:
    """Declare what is missing. Raises `TopologyDiffers` naming all that exists in another way, and goes on past it."""
    steps = [(_name(exchange), _declare_exchange(exchange)) for exchange in topology.exchanges]
    steps += [(_name(queue), _declare_queue(queue)) for queue in topology.queues]
    differences = await _each(connection, steps)
    bindings = [(_name(binding), _bind(binding)) for binding in topology.bindings]
    differences += await _each(connection, bindings)
    if differences:
        raise TopologyDiffers(differences)


async def verify(connection: AbstractConnection, topology: Topology) -> None:
    """Raise `TopologyDiffers` unless everything exists; what exists is not compared, for lack of the right to."""
    steps = [(_name(exchange), _find_exchange(exchange)) for exchange in topology.exchanges]
    steps += [(_name(queue), _find_queue(queue)) for queue in topology.queues]
    if missing := await _each(connection, steps):
        raise TopologyDiffers(missing)


async def compare(connection: AbstractConnection, topology: Topology) -> list[str]:
    """How exchanges and queues differ from the live broker's: missing, or with other arguments. Declares nothing.

    What exists is declared again with our arguments, which RabbitMQ refuses (406) if they differ, and else ignores.
    """
    differences: list[str] = []
    for name, find, declare in (
        *((_name(each), _find_exchange(each), _declare_exchange(each)) for each in topology.exchanges),
        *((_name(each), _find_queue(each), _declare_queue(each)) for each in topology.queues),
    ):
        missing = await _each(connection, [(name, find)])
        differences += missing or await _each(connection, [(name, declare)])
    return differences


async def _each(connection: AbstractConnection, steps: list[tuple[str, Step]]) -> list[str]:
    """Take every step, and tell which the broker refused; a refusal closes the channel, so the next has another."""
    refused: list[str] = []
    channel: AbstractChannel | None = None
    for name, step in steps:
        try:
            async with asyncio.timeout(STEP_S):
                if channel is None or channel.is_closed:
                    channel = await connection.channel(publisher_confirms=False)
                await step(channel)
        except ChannelNotFoundEntity:
            refused.append(f"{name} is missing: `aftercall topology apply` declares it")
        except ChannelPreconditionFailed as error:
            refused.append(f"{name} exists with other arguments: {_reason(error)}")
        except AMQPError as error:
            refused.append(f"{name}: {explain(error)}")
    if channel is not None and not channel.is_closed:
        await channel.close()
    return refused


def _name(thing: Exchange | Queue | Binding) -> str:
    if isinstance(thing, Binding):
        return f"binding of queue {thing.queue} to exchange {thing.exchange} by {thing.key!r}"
    return f"{type(thing).__name__.lower()} {thing.name}"


def _reason(error: AMQPError) -> str:
    """RabbitMQ's own words, without the code before them and the vhost within."""
    return str(error).partition(" - ")[2] or str(error)


def _declare_exchange(exchange: Exchange) -> Step:
    return lambda channel: channel.declare_exchange(
        exchange.name, exchange.type, durable=True, arguments=exchange.arguments
    )


def _declare_queue(queue: Queue) -> Step:
    return lambda channel: channel.declare_queue(queue.name, durable=True, arguments=queue.arguments)


def _find_exchange(exchange: Exchange) -> Step:
    return lambda channel: channel.declare_exchange(exchange.name, exchange.type, passive=True)


def _find_queue(queue: Queue) -> Step:
    return lambda channel: channel.declare_queue(queue.name, passive=True)


def _bind(binding: Binding) -> Step:
    async def bind(channel: AbstractChannel) -> None:
        queue = await channel.get_queue(binding.queue, ensure=False)
        await queue.bind(binding.exchange, binding.key)

    return bind
