"""What ends a session is told by `broker.lost`, in the broker's own words where it said any."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from structlog.testing import capture_logs
from yarl import URL

from tests.processes import PATIENCE_S, eventually
from worker.broker.session import Session
from worker.settings import Secret
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy

QUEUE = "consumed"
Harm = Callable[[Session], Awaitable[object]]


async def leave(_incoming: AbstractIncomingMessage) -> None:
    """Take a delivery and do nothing with it."""


async def consume(_connection: AbstractConnection, channel: AbstractChannel) -> None:
    queue = await channel.declare_queue(QUEUE, durable=True)
    await queue.consume(leave)


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Session]:
    """A session that is ready."""
    one = Session(Secret(url), name="test", set_up=consume)
    task = asyncio.create_task(one.run())
    try:
        await eventually(one.ready.is_set)
        yield one
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def told_of(url: str, harm: Harm, within_s: float = PATIENCE_S) -> str:
    """What `broker.lost` says of a session that was harmed."""

    def losses() -> list[MutableMapping[str, Any]]:
        return [line for line in logs if line["event"] == "broker.lost"]

    with capture_logs() as logs:
        async with session(url) as one:
            await harm(one)
            (line,) = await eventually(losses, within_s)
    return str(line["detail"])


async def test_a_connection_that_the_broker_closes_is_told_with_its_code_and_reason(node: PrivateNode) -> None:
    told = await told_of(node.url, lambda _: node.ctl("close_all_connections", "--global", "an operator's wish"))

    assert told == "ConnectionClosed: 320 CONNECTION_FORCED - an operator's wish"


async def test_a_channel_that_the_broker_closes_is_told_with_its_reason(amqp_url: str) -> None:
    async def acknowledge_what_never_came(one: Session) -> None:
        assert one.channel is not None
        await (await one.channel.get_underlay_channel()).basic_ack(7)

    told = await told_of(amqp_url, acknowledge_what_never_came)

    assert told == "ChannelPreconditionFailed: PRECONDITION_FAILED - unknown delivery tag 7"


async def test_a_queue_deleted_under_its_consumer_is_told(amqp_url: str) -> None:
    async def delete(_: Session) -> None:
        async with await aio_pika.connect(amqp_url) as connection:
            await (await connection.channel()).queue_delete(QUEUE)

    assert "the broker cancelled the consumer" in await told_of(amqp_url, delete)


async def test_missed_heartbeats_are_told(amqp_url: str, proxy: TcpProxy) -> None:
    async def stall(_: Session) -> None:
        proxy.stall()

    url = str(URL(proxy.through(amqp_url)) % {"heartbeat": "1"})

    assert await told_of(url, stall, within_s=20) == "the broker's heartbeats stayed away"


async def test_a_wire_that_is_cut_is_told(amqp_url: str, proxy: TcpProxy) -> None:
    async def cut(_: Session) -> None:
        proxy.cut()

    assert "Connection reset by peer" in await told_of(proxy.through(amqp_url), cut)


async def test_a_session_that_we_end_ourselves_is_told_with_our_reason(amqp_url: str) -> None:
    async def give_up(one: Session) -> None:
        one.rebuild("the ledger's database is away")

    assert await told_of(amqp_url, give_up) == "given up here: the ledger's database is away"
