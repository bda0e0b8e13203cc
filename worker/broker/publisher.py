"""Publishing that returns only when the broker has the message: confirmed, routed, on disk at a majority.

Always `mandatory` with publisher confirms (https://www.rabbitmq.com/docs/confirms): the broker acknowledges a message
that it could not route anywhere too. Many publishes are in flight on one channel; there is no pool and no batch.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection

from consumers.messages import Message
from consumers.outcomes import TooLarge
from worker.broker.session import SET_UP_S, Session, SetUp, explain, told_as_closed
from worker.broker.wire import Nacked, Outbound, Returned
from worker.operate.limits import within
from worker.operate.telemetry import logger
from worker.settings import Secret

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
        self.session = Session(urls, name=f"{name} publisher", set_up=self._start)
        self._set_up = set_up
        self._set_up_s = set_up_s
        self._mending: asyncio.Task[None] | None = None
        self._timeout_s = timeout_s
        self._is_patient = is_patient
        self._room = asyncio.Semaphore(in_flight_max)
        self._outbound: Outbound | None = None
        self._refusals = Refusals()

    async def publish(self, message: Message) -> None:
        """Publish, and return once the broker has it. Raises `PublishFailed` or `TooLarge`.

        `TypeError` and `ValueError` are for headers that AMQP cannot carry.
        """
        if not self.session.ready.is_set() and not self._is_patient:
            raise PublishFailed(f"the broker is away: {self.session.trouble}")
        try:
            with told_as_closed(), within(self._timeout_s):
                async with self._room:
                    await self.session.ready.wait()
                    await self._publish(message)
            self._refusals.took(message)
        except (TooLarge, TypeError, ValueError, PublishFailed):
            raise
        except Exception as error:
            # AMQPError, OSError, TimeoutError, RuntimeError for a closed channel, and what a dying connection throws.
            if isinstance(error, Returned):
                self._set_up_again()
            elif isinstance(error, Nacked) and self._refusals.are_lasting(message):
                self.session.rebuild(f"refused for long on this channel: {message.routing_key} of {message.exchange}")
            raise PublishFailed(explain(error)) from error

    async def _start(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        await self._set_up(connection, channel)
        self._outbound = await Outbound.open(connection, channel)

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
        if self._outbound is None:
            raise PublishFailed("the broker went away")
        await self._outbound.publish(message)

    async def unblocked(self) -> None:
        """Wait until the session is ready and no alarm of the broker blocks it."""
        await self.session.ready.wait()
        connection: AbstractConnection | None = self.session.connection
        underlay = getattr(getattr(connection, "transport", None), "connection", None)
        if underlay is not None:
            await underlay.ready()
