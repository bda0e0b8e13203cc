"""A connection that is never repaired: when anything about it ends, all of it is built anew.

Plain `aio_pika.connect`, because its robust connection has a state in which a channel is dead for ever while the
connection looks healthy, and because it neither rotates over the nodes of a cluster nor backs off.
"""

import asyncio
import itertools
import random
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionClosed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from worker.broker.dial import dial, where
from worker.broker.wire import WiredConnection
from worker.clients.tls import TlsFileUnusable
from worker.operate.telemetry import logger
from worker.operate.words import in_words, why_no_tls
from worker.settings import Secret

CONNECT_S: Final = 5.0
SET_UP_S: Final = 30.0
CLOSE_S: Final = 2.0
PAUSE_MIN_S: Final = 0.2
PAUSE_MAX_S: Final = 5.0
HEALTHY_S: Final = 30.0

TLS_MEND: Final = "AFTERCALL_AMQP_URL: port, host, ?cafile=, &certfile= and &keyfile="
CANCELLED: Final = "the broker cancelled the consumer, as it does when the queue is deleted"

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
        self._ended: asyncio.Future[str] | None = None
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
                with told_as_closed():
                    self.trouble = await self._once(self._next_url())
            except Exception as error:  # noqa: BLE001  # whatever it is, the mend is to build anew
                self.trouble = explain(error)
            lasted_s = time.monotonic() - began
            pause_s = PAUSE_MIN_S if lasted_s > HEALTHY_S else min(pause_s * 2, PAUSE_MAX_S)
            logger().warning("broker.lost", session=self._name, detail=self.trouble, lasted_s=round(lasted_s, 3))
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311  # jitter, no secret

    def rebuild(self, why: str) -> None:
        """End the present connection and make another: its unsettled deliveries go back to their queue."""
        if self._ended is not None:
            _end(self._ended, f"given up here: {why}")

    def _next_url(self) -> str:
        urls = self._urls.each()
        return urls[next(self._turn) % len(urls)]

    async def _once(self, url: str) -> str:
        """One connection from its beginning to its end; why it ended."""
        connection = await self._connect(url)
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ended = ended
        try:
            channel = await self._open(connection, ended)
            self.connection, self.channel = connection, channel
            self.max_message_bytes = max_message_bytes(connection)
            self.ready.set()
            logger().info("broker.connected", session=self._name, broker=where(url))
            return await ended
        finally:
            self.ready.clear()
            self.connection = self.channel = None
            await _close(connection)

    async def _connect(self, url: str) -> AbstractConnection:
        async with asyncio.timeout(CONNECT_S):
            return await dial(url, f"{self._name}/{socket.gethostname()}", WiredConnection)

    async def _open(self, connection: AbstractConnection, ended: "asyncio.Future[str]") -> AbstractChannel:
        async with asyncio.timeout(SET_UP_S):
            channel = await connection.channel(on_return_raises=True)
            channel.close_callbacks.add(lambda _channel, error: _end(ended, _ending(error)))
            # The broker cancels a consumer whose queue is gone and leaves the channel open: only this tells.
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _frame: _end(ended, CANCELLED))
            await self._set_up(connection, channel)
        return channel


def max_message_bytes(connection: AbstractConnection) -> int:
    """The largest message the broker takes by default: 16 MiB since 4.0, 128 MiB before (RabbitMQ's release notes)."""
    properties = getattr(getattr(connection.transport, "connection", None), "server_properties", None) or {}
    version = str(properties.get("version", ""))
    return 2**27 if version.startswith("3.") else 2**24


def explain(error: BaseException) -> str:
    """What went wrong with the broker, in words an operator can act upon."""
    if trouble := why_no_tls(error):
        return f"TLS with the broker: {trouble} ({TLS_MEND})"
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
    ((TlsFileUnusable,), "a file that AFTERCALL_AMQP_URL names is of no use"),
    ((TimeoutError,), "the broker does not answer"),
    ((ConnectionRefusedError,), "nothing listens at AFTERCALL_AMQP_URL"),
)


def _words(error: BaseException) -> str:
    text = in_words(error) if str(error) else ""
    if isinstance(error, ChannelClosed | ConnectionClosed):  # the broker's code, if aiormq keeps it, and its text
        text = " ".join(str(each) for each in error.args if each)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _end(ended: "asyncio.Future[str]", why: str) -> None:
    if not ended.done():
        ended.set_result(why)


def _ending(error: BaseException | None) -> str:
    """Why a channel ended that we did not close, in the broker's words if it said any."""
    if isinstance(error, asyncio.CancelledError):
        return "the broker's heartbeats stayed away"
    return _words(error) if error else "the connection was closed"


class told_as_closed:  # noqa: N801  # it reads as the function it could be, and costs a tenth
    """Raises `AMQPConnectionError` where aiormq cancels those who wait for a connection that ends; ours passes."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        """Tell a cancellation that nobody asked for as what it is."""
        if kind is asyncio.CancelledError and not _is_ours():
            raise AMQPConnectionError("the connection was closed") from error


def _is_ours() -> bool:
    """Whether this task is being cancelled by us."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _close(connection: AbstractConnection) -> None:
    with suppress(Exception, asyncio.CancelledError):
        async with asyncio.timeout(CLOSE_S):
            await connection.close()
    if _is_ours():
        raise asyncio.CancelledError


__all__ = ["AMQPError", "Session", "SetUp", "explain", "max_message_bytes", "told_as_closed", "where"]
