"""A connection that is never repaired: when anything about it ends, all of it is built anew.

Plain `aio_pika.connect`, because its robust connection has a state in which a channel is dead for ever while the
connection looks healthy, and because it neither rotates over the nodes of a cluster nor backs off.
"""

import asyncio
import itertools
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from worker.operate.telemetry import logger
from worker.settings import Secret

CONNECT_S: Final = 5.0
SET_UP_S: Final = 30.0
CLOSE_S: Final = 2.0
HEARTBEAT_S: Final = 12
PAUSE_MIN_S: Final = 0.2
PAUSE_MAX_S: Final = 10.0
HEALTHY_S: Final = 30.0

SetUp = Callable[[AbstractConnection, AbstractChannel], Awaitable[None]]


class Session:
    """One connection and one channel of it, for as long as they last, again and again until cancelled.

    `set_up` makes a new channel usable: it verifies or declares, sets prefetch, consumes. `ready` is set while the
    channel is. A broker that is away, refuses or lacks something is waited for, with growing pauses.
    """

    def __init__(self, urls: Secret, *, name: str, set_up: SetUp) -> None:
        self._urls = urls
        self._name = name
        self._set_up = set_up
        self._turn = itertools.count()
        self._broken = asyncio.Event()
        self.ready = asyncio.Event()
        self.channel: AbstractChannel | None = None
        self.connection: AbstractConnection | None = None
        self.max_message_bytes = 0
        self.trouble = "not connected yet"

    async def run(self) -> None:
        """Keep the session until cancelled."""
        pause_s = PAUSE_MIN_S
        while True:
            began = time.monotonic()
            try:
                await self._once(self._next_url())
                self.trouble = "the connection ended"
            except asyncio.CancelledError:
                if _is_ours():
                    raise
                self.trouble = "the connection was closed"  # by aiormq, which cancels those who wait
            except Exception as error:  # noqa: BLE001  # whatever it is, the mend is to build anew
                self.trouble = explain(error)
            lasted_s = time.monotonic() - began
            pause_s = PAUSE_MIN_S if lasted_s > HEALTHY_S else min(pause_s * 2, PAUSE_MAX_S)
            logger().warning("broker.lost", session=self._name, detail=self.trouble, lasted_s=round(lasted_s, 3))
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311  # jitter, no secret

    def rebuild(self) -> None:
        """End the present connection and make another: its unsettled deliveries go back to their queue."""
        self._broken.set()

    def _next_url(self) -> str:
        urls = self._urls.each()
        return urls[next(self._turn) % len(urls)]

    async def _once(self, url: str) -> None:
        connection = await self._connect(url)
        try:
            channel, cancelled = await self._open(connection)
            self.connection, self.channel = connection, channel
            self.max_message_bytes = max_message_bytes(connection)
            self.ready.set()
            logger().info("broker.connected", session=self._name, broker=where(url))
            await _first(channel.closed(), cancelled.wait(), self._broken.wait())
        finally:
            self.ready.clear()
            self.connection = self.channel = None
            await _close(connection)

    async def _connect(self, url: str) -> AbstractConnection:
        parsed = URL(url)
        query = {"heartbeat": str(HEARTBEAT_S), **parsed.query}
        host = socket.gethostname()
        async with asyncio.timeout(CONNECT_S):
            return await aio_pika.connect(
                parsed.with_query(query), client_properties={"connection_name": f"aftercall {self._name}/{host}"}
            )

    async def _open(self, connection: AbstractConnection) -> tuple[AbstractChannel, asyncio.Event]:
        async with asyncio.timeout(SET_UP_S):
            channel = await connection.channel(on_return_raises=True)
            cancelled = asyncio.Event()
            self._broken.clear()
            # The broker cancels a consumer whose queue is gone and leaves the channel open: only this tells.
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _frame: cancelled.set())
            await self._set_up(connection, channel)
        return channel, cancelled


def max_message_bytes(connection: AbstractConnection) -> int:
    """The largest message the broker takes by default: 16 MiB since 4.0, 128 MiB before (RabbitMQ's release notes)."""
    properties = getattr(getattr(connection.transport, "connection", None), "server_properties", None) or {}
    version = str(properties.get("version", ""))
    return 2**27 if version.startswith("3.") else 2**24


def where(url: str) -> str:
    """The broker of a URL, without the password."""
    parsed = URL(url)
    return f"{parsed.host}:{parsed.port or 5672}{parsed.path}"


def explain(error: BaseException) -> str:
    """What went wrong with the broker, in words an operator can act upon."""
    for each in (error, error.__cause__):  # what a socket raises, aiormq raises again as its own
        for kinds, mend in _MENDS:
            if isinstance(each, kinds):
                return f"{mend} ({_words(error)})"
    return _words(error)


_MENDS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    (
        (ProbableAuthenticationError, AuthenticationError),
        "the broker refuses the user or password: check AFTERCALL_AMQP_URL",
    ),
    (
        (InvalidFrameError,),
        "the broker closes the connection: check the virtual host of AFTERCALL_AMQP_URL, and the user's right to it",
    ),
    ((ChannelAccessRefused,), "the user lacks a permission on the broker"),
    ((ChannelNotFoundEntity,), "something is missing on the broker: run `aftercall topology apply`"),
    ((ChannelPreconditionFailed,), "something exists with other arguments: `aftercall topology check` names it"),
    ((socket.gaierror,), "the broker's name does not resolve: check AFTERCALL_AMQP_URL and DNS"),
    ((ssl.SSLError,), "TLS with the broker failed: check its certificate and the scheme of AFTERCALL_AMQP_URL"),
    ((TimeoutError,), "the broker does not answer"),
    ((ConnectionRefusedError,), "nothing listens at AFTERCALL_AMQP_URL"),
)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _is_ours() -> bool:
    """Whether this task is being cancelled by us; aiormq raises CancelledError by itself when a connection dies."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _first(*waits: Awaitable[object]) -> None:
    """Wait for the first of several to happen."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _close(connection: AbstractConnection) -> None:
    with suppress(Exception, asyncio.CancelledError):
        async with asyncio.timeout(CLOSE_S):
            await connection.close()
    if _is_ours():
        raise asyncio.CancelledError


__all__ = ["AMQPError", "Session", "SetUp", "explain", "max_message_bytes", "where"]
