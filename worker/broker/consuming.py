"""Consuming one queue: taking deliveries up to the prefetch, keeping them in hand, and letting go in order."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from consumers.concurrency import is_worth_a_change
from consumers.quoting import place_in
from consumers.settling import Settlement
from worker.broker.deliver import Settler, count_from_zero, deliver
from worker.broker.hands import MAX_BYTES, Hands
from worker.broker.publisher import Publisher, PublishFailed
from worker.broker.session import Session, SetUp, explain, told_as_closed
from worker.broker.wire import Inbound, Taken
from worker.operate import tracing
from worker.operate.telemetry import DELIVERIES, logger
from worker.settings import Secret

CANCEL_S: Final = 2.0
LOOK_S: Final = 2.0
LOOK_AGAIN_S: Final = 5.0
FOLLOW_S: Final = 3.0

Follow = Callable[[], int]
"""How many deliveries are worth having in hand now."""


class Outage(Protocol):
    """What a queue's consumer rests upon may be known to be away: then the calls are better left in the queue."""

    @property
    def is_open(self) -> bool:
        """Whether it is known to be away."""

    async def wait_open(self) -> None:
        """Wait until it is."""

    async def wait_closed(self, within_s: float) -> bool:
        """Wait until it is back, or so long; whether it is back."""


class Consuming:
    """A consumer of one queue, on a session of its own, so that a queue in trouble is trouble for no other.

    It consumes only while the publisher can publish: what cannot be passed on is better left in the queue. So it does
    in an outage, and then only looks at the head of the queue, one delivery at a time, for deadlines hold.
    """

    def __init__(  # noqa: PLR0913  # each of them is a part of its own
        self,
        urls: Secret,
        *,
        queue: str,
        prefetch: int,
        max_bytes: int = MAX_BYTES,
        publisher: Publisher,
        settler: Settler,
        set_up: SetUp,
        outage: Outage | None = None,
        follow: Follow | None = None,
        follow_every_s: float = FOLLOW_S,
    ) -> None:
        self.queue = queue
        self.session = Session(urls, name=f"consumer of {queue}", set_up=self._start)
        self._prefetch = prefetch
        self._follow = follow or (lambda: self._prefetch)
        self._follow_every_s = follow_every_s
        self._publisher = publisher
        self._settler = settler
        self._settle = tracing.settling(deliver)
        self._set_up = set_up
        self._hands = Hands(self._deliver, f"delivery of {queue}", max_bytes)
        self._consumed: tuple[AbstractQueue, str] | None = None
        self._outage = outage
        self._tending: asyncio.Task[None] | None = None
        self._is_stopping = False
        count_from_zero(queue)

    async def run(self) -> None:
        """Consume until cancelled."""
        try:
            await self.session.run()
        finally:
            await self._abandon()

    async def stop(self, grace_s: float) -> None:
        """Take no more, and finish what is in hand within `grace_s`; what is not finished then stays unsettled."""
        self._is_stopping = True
        await self._cancel_consumer()
        await self._hands.finish(grace_s)
        await self._abandon()

    async def is_consumed(self) -> bool:
        """Whether the broker knows of a consumer of the queue, or an outage is the reason that it does not."""
        if self._outage and self._outage.is_open:
            return self.session.ready.is_set()
        connection = self.session.connection
        if connection is None or not self.session.ready.is_set():
            return False
        try:
            with told_as_closed():
                async with asyncio.timeout(LOOK_S), connection.channel(publisher_confirms=False) as channel:
                    queue = await channel.declare_queue(self.queue, passive=True)
        except Exception:  # noqa: BLE001  # whatever a dying connection throws: the broker has not said that it is
            return False
        return bool(queue.declaration_result.consumer_count)

    async def _start(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        await self._abandon()
        self._consumed = None  # it ended with its channel
        await self._publisher.unblocked()
        await self._set_up(connection, channel)
        lane = await Inbound.open(connection, channel, self._take)
        queue = await channel.get_queue(self.queue, ensure=False)
        if self._outage is None or not self._outage.is_open:
            await self._consume(queue)
        if self._outage is not None:
            self._tending = asyncio.create_task(self._tend(queue, lane, self._outage), name=f"tend {self.queue}")

    async def _consume(self, queue: AbstractQueue) -> None:
        await queue.channel.set_qos(prefetch_count=self._prefetch, timeout=LOOK_S)  # for consumers that begin after it
        if not self._is_stopping:
            self._consumed = (queue, await queue.consume(_pass_by, timeout=LOOK_S))

    async def _tend(self, queue: AbstractQueue, lane: Inbound, outage: Outage) -> None:
        """Stop consuming at each outage, look at the head of the queue while it lasts, and consume again.

        Between outages, consume anew when many more or fewer deliveries are worth having in hand.
        """
        try:
            with told_as_closed():
                while not self._is_stopping:
                    if await _opens(outage, self._follow_every_s) or self._is_to_change():
                        await self._cancel_consumer()
                        while outage.is_open and not self._is_stopping:
                            await self._look(queue, lane, outage)
                        await self._consume(queue)
        except Exception as error:  # noqa: BLE001  # whatever it is, a queue that nobody tends is built anew
            self.session.rebuild(f"nobody tends the queue any more: {explain(error)}")

    def _is_to_change(self) -> bool:
        """Whether the prefetch is to be another from now on."""
        wanted = self._follow()
        if is_change := is_worth_a_change(self._prefetch, wanted):
            self._prefetch = wanted
        return is_change

    async def _look(self, queue: AbstractQueue, lane: Inbound, outage: Outage) -> None:
        """Settle the delivery at the head, and pause: until the queue may have another, or that one is due."""
        message = await queue.get(fail=False, timeout=LOOK_S)
        if message is None:
            await outage.wait_closed(LOOK_AGAIN_S)
            return
        settlement = await asyncio.shield(self._hands.work(lane.taken(message)))
        if settlement is not None and settlement.due_at is not None:
            await outage.wait_closed(max(0.0, settlement.due_at - self._settler.clock()))

    def _take(self, incoming: Taken) -> None:
        if not self._is_stopping:
            self._hands.take(incoming)

    async def _deliver(self, incoming: Taken) -> Settlement | None:
        """Settle a delivery; None if it could not be, and is the broker's again."""
        try:
            with told_as_closed():
                return await self._settle(incoming, self.queue, self._settler)
        except (PublishFailed, TimeoutError) as error:
            trouble = str(error) or explain(error)
            self._unsettled(incoming, trouble)
            self.session.rebuild(f"a delivery could not be settled: {trouble}")
        except (AMQPError, ChannelInvalidStateError, OSError) as error:
            # The channel went before the acknowledgement: the broker has the delivery again already.
            self._unsettled(incoming, str(error))
        except asyncio.CancelledError:
            DELIVERIES.labels(self.queue, "interrupted").inc()
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the delivery must not stay undecided
            self._unsettled(incoming, place_in(error))
            await self._reject(incoming)
        return None

    async def _reject(self, incoming: Taken) -> None:
        """Leave a delivery that cannot be settled to the broker, which puts it with the dead letters as it is.

        If it takes no rejection, it has the delivery again with the end of the session.
        """
        with suppress(AMQPError, ChannelInvalidStateError, OSError):
            await incoming.reject(requeue=False)
            return
        self.session.rebuild("a delivery that could not be settled could not be rejected either")

    def _unsettled(self, incoming: Taken, detail: str) -> None:
        DELIVERIES.labels(self.queue, "unsettled").inc()
        logger().warning(
            "delivery.settled", outcome="unsettled", queue=self.queue, call_id=incoming.correlation_id, detail=detail
        )

    async def _cancel_consumer(self) -> None:
        if self._consumed is None or not self.session.ready.is_set():
            return
        queue, tag = self._consumed
        self._consumed = None
        try:
            with told_as_closed():
                async with asyncio.timeout(CANCEL_S):
                    await queue.cancel(tag)
        except Exception as error:  # noqa: BLE001  # whatever a dying connection throws
            self.session.rebuild(f"the consumer could not be cancelled: {explain(error)}")

    async def _abandon(self) -> None:
        """Cancel what is in hand: unsettled, it goes back to its queue with the channel."""
        if self._tending is not None:  # first, or it takes the end of what it looks at for the session's
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        await self._hands.abandon()


async def _opens(outage: Outage, within_s: float) -> bool:
    """Wait for an outage, but no longer than until the prefetch is due to be looked at."""
    try:
        async with asyncio.timeout(within_s):
            await outage.wait_open()
    except TimeoutError:
        return False
    return True


async def _pass_by(_incoming: object) -> None:
    """Never called: deliveries are taken from the wire before aio-pika sees them."""
