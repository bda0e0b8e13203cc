"""Publishing that returns only when the broker has the message: confirmed, routed, on disk at a majority.

Always `mandatory` with publisher confirms (https://www.rabbitmq.com/docs/confirms): the broker acknowledges a message
that it could not route anywhere too. Many publishes are in flight on one channel; there is no pool and no batch.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, DeliveryMode
from aiormq.exceptions import DeliveryError, PublishError

from consumers.messages import Message
from consumers.outcomes import TooLarge
from worker.broker.session import SET_UP_S, Session, SetUp, explain, told_as_closed
from worker.operate.telemetry import logger
from worker.settings import Secret

HEADERS_MAX_BYTES: Final = 96 * 1024
"""The broker closes a connection whose header frame exceeds its frame_max, 128 KiB by default."""
IN_FLIGHT_MAX: Final = 256
REFUSED_MIN_S: Final = 3.0
REFUSED_MAX_S: Final = 60.0


class PublishFailed(Exception):
    """The broker did not take a message, or nobody knows whether it did: it must be published again or kept."""


class Refusals:
    """Tells when nacks of one destination (exchange, routing key) are worth a new channel.

    In RabbitMQ 3.10 a channel that publishes to a queue for the first time while that has no leader is nacked for as
    long as it lives, though the queue is well again within a second, and other channels are not (measured). A queue
    that is full nacks on any channel: hence pauses that grow till it takes something.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[tuple[str, str], tuple[float, float]] = {}

    def took(self, message: Message) -> None:
        """The broker has confirmed a message."""
        self._since.pop((message.exchange, message.routing_key), None)

    def are_lasting(self, message: Message) -> bool:
        """The broker has nacked a message; whether it has done so for long enough, since the last time this was so."""
        key, now = (message.exchange, message.routing_key), self._clock()
        since, wait_s = self._since.setdefault(key, (now, REFUSED_MIN_S))
        if now - since < wait_s:
            return False
        self._since[key] = (now, min(wait_s * 2, REFUSED_MAX_S))
        return True


class Publisher:
    """Publishes over a session of its own, `timeout_s` seconds a message.

    A patient one waits that long for a broker that is away; another fails at once, since someone waits for an answer.
    """

    def __init__(  # noqa: PLR0913  # most are only for some
        self,
        urls: Secret,
        *,
        name: str,
        timeout_s: float,
        is_patient: bool,
        set_up: SetUp,
        in_flight_max: int = IN_FLIGHT_MAX,
        set_up_s: float = SET_UP_S,
    ) -> None:
        self.session = Session(urls, name=f"{name} publisher", set_up=set_up)
        self._set_up = set_up
        self._set_up_s = set_up_s
        self._mending: asyncio.Task[None] | None = None
        self._timeout_s = timeout_s
        self._is_patient = is_patient
        self._room = asyncio.Semaphore(in_flight_max)
        self._exchanges: dict[str, AbstractExchange] = {}
        self._channel: AbstractChannel | None = None
        self._refusals = Refusals()

    async def publish(self, message: Message) -> None:
        """Publish, and return once the broker has it. Raises `PublishFailed` or `TooLarge`.

        `TypeError` and `ValueError` are for headers that AMQP cannot carry.
        """
        if not self.session.ready.is_set() and not self._is_patient:
            raise PublishFailed(f"the broker is away: {self.session.trouble}")
        try:
            with told_as_closed():
                async with asyncio.timeout(self._timeout_s), self._room:
                    await self.session.ready.wait()
                    await self._publish(message)
            self._refusals.took(message)
        except (TooLarge, TypeError, ValueError, PublishFailed):
            raise
        except Exception as error:
            # AMQPError, OSError, TimeoutError, RuntimeError for a closed channel, and what a dying connection throws.
            if isinstance(error, PublishError):
                self._set_up_again()
            elif isinstance(error, DeliveryError) and self._refusals.are_lasting(message):
                self.session.rebuild(f"refused for long on this channel: {message.routing_key} of {message.exchange}")
            raise PublishFailed(explain(error)) from error

    def _set_up_again(self) -> None:
        """A message came back, though an alternate exchange takes all: something of the topology is gone."""
        connection, channel = self.session.connection, self.session.channel
        if connection is None or channel is None or not (self._mending is None or self._mending.done()):
            return
        self._mending = asyncio.create_task(self._mend(connection, channel), name="set the topology up again")

    async def _mend(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        try:
            with told_as_closed():
                async with asyncio.timeout(self._set_up_s):
                    await self._set_up(connection, channel)
        except Exception as error:  # noqa: BLE001  # the publish has failed already, and its sender tries again
            logger().warning("broker.lost", session="publisher", detail=explain(error))

    async def _publish(self, message: Message) -> None:
        limit = self.session.max_message_bytes
        if len(message.body) > limit:
            raise TooLarge(f"{len(message.body)} bytes, and the broker takes {limit}")
        if (size := _size_of(message.headers)) > HEADERS_MAX_BYTES:
            raise TooLarge(f"{size} bytes of headers, which must fit one frame")
        exchange = await self._exchange(message.exchange)
        await exchange.publish(_envelope(message), message.routing_key)

    async def _exchange(self, name: str) -> AbstractExchange:
        channel = self.session.channel
        if channel is None:
            raise PublishFailed("the broker went away")
        if channel is not self._channel:
            self._channel, self._exchanges = channel, {}
        if name not in self._exchanges:
            self._exchanges[name] = await channel.get_exchange(name, ensure=False)
        return self._exchanges[name]

    async def unblocked(self) -> None:
        """Wait until the session is ready and no alarm of the broker blocks it."""
        await self.session.ready.wait()
        connection: AbstractConnection | None = self.session.connection
        underlay = getattr(getattr(connection, "transport", None), "connection", None)
        if underlay is not None:
            await underlay.ready()


def _size_of(headers: Mapping[str, Any]) -> int:
    return sum(
        len(key) + len(value if isinstance(value, str | bytes) else str(value)) for key, value in headers.items()
    )


def _envelope(message: Message) -> aio_pika.Message:
    # aiormq finds the publish that a returned message belongs to by its message_id: never the same id twice in flight.
    return aio_pika.Message(
        message.body,
        headers={key: _carriable(value) for key, value in message.headers.items()},
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=uuid.uuid4().hex,
        correlation_id=message.call_id or None,
        timestamp=int(time.time()),
        type=message.type or None,
        app_id="aftercall",
    )


def _carriable(value: Any) -> Any:
    """A header's value as pamqp takes it: text that is not UTF-8 it reads as bytes, and writes as a bytearray alone."""
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, dict):
        return {key: _carriable(item) for key, item in value.items()}
    return [_carriable(item) for item in value] if isinstance(value, list) else value
