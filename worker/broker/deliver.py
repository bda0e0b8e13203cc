"""The one place that settles deliveries: publish confirmed first, acknowledge second, on every path."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, get_args

import msgspec
from aio_pika.abc import AbstractIncomingMessage
from tenacity import AsyncRetrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from consumers.messages import Delivery, Message, journey_of, with_journey
from consumers.outcomes import TooLarge
from consumers.quoting import unquoted
from consumers.settling import REASONS, Name, Schedule, Settlement, settle
from worker.broker.publisher import PublishFailed
from worker.broker.wire import Taken
from worker.operate.limits import within
from worker.operate.telemetry import (
    DEAD_LETTERS,
    DELIVERIES,
    DELIVERY_AGE_SECONDS,
    DELIVERY_SECONDS,
    at_zero,
    logger,
)

HANDLE_MAX_S: Final = 45.0
PUBLISH_MAX_S: Final = 15.0
"""With an acknowledgement about a minute: a delivery held longer is one that the broker's own timeout may take away."""

Incoming = AbstractIncomingMessage | Taken
Publish = Callable[[Message], Awaitable[None]]
Handle = Callable[[Delivery, float], Awaitable[tuple[Message, ...]]]
"""Decode and handle a delivery at an instant: a consumer, bound to all it needs."""


class Settler(msgspec.Struct, frozen=True):
    """What settling needs: the consumer, a way to publish, the schedule of waits, and a clock (epoch seconds)."""

    handle: Handle
    publish: Publish
    schedule: Schedule
    clock: Callable[[], float] = time.time
    handle_max_s: float = HANDLE_MAX_S
    publish_max_s: float = PUBLISH_MAX_S


def count_from_zero(queue: str) -> None:
    """Have the counters of a queue there before its first delivery."""
    at_zero(DELIVERIES, (queue,), (*get_args(Name), "unsettled", "interrupted"))
    at_zero(DEAD_LETTERS, (queue,), (*REASONS.values(), "gave-up", "error"))


async def deliver(incoming: Taken, queue: str, settler: Settler) -> Settlement:
    """Settle one delivery: what it led to is safe at the broker before it is acknowledged.

    Raises `PublishFailed` if that could not be, and `TimeoutError` if the broker took no acknowledgement; the delivery
    is then still the broker's, which hands it out again.
    Cancelled, it settles nothing: the broker redelivers, and no attempt is counted.
    """
    began, now = time.perf_counter(), settler.clock()
    delivery = with_journey(read(incoming, queue), now)
    settlement = settle(delivery, await _hear(settler, delivery, now), schedule=settler.schedule, now=settler.clock())
    settlement = await _publish(settlement, delivery, settler)
    await incoming.ack()
    _tell(settlement, delivery, time.perf_counter() - began, now)
    return settlement


def read(incoming: Incoming, queue: str) -> Delivery:
    """The broker's message as the consumers know it."""
    return Delivery(
        queue=queue,
        body=incoming.body,
        headers=incoming.headers,
        type=incoming.type or "",
        call_id=incoming.correlation_id or "",
        content_type=incoming.content_type,
        content_encoding=incoming.content_encoding,
        published_at=incoming.timestamp.timestamp() if incoming.timestamp else None,
    )


async def _hear(settler: Settler, delivery: Delivery, now: float) -> tuple[Message, ...] | Exception:
    """What the consumer says: what it returns, or what it raises, even what nobody foresaw."""
    limit = within(settler.handle_max_s)
    try:
        with limit:
            return await settler.handle(delivery, now)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return RuntimeError(f"cancelled from within: {error}").with_traceback(error.__traceback__)
    except Exception as error:  # noqa: BLE001  # every path decides
        if not limit.expired():
            return error
        told = f"the consumer took longer than {settler.handle_max_s:g} s"
        return TimeoutError(told).with_traceback(error.__traceback__)


async def _publish(settlement: Settlement, delivery: Delivery, settler: Settler) -> Settlement:
    """Publish what a settlement says, in its order; a message that cannot be one is settled as its consumer's error."""
    until = asyncio.get_running_loop().time() + settler.publish_max_s
    try:
        await _publish_each(settlement.messages, settler, until)
    except (TooLarge, TypeError, ValueError) as error:  # larger than the broker takes, or not for AMQP to carry
        settlement = settle(delivery, error, schedule=settler.schedule, now=settler.clock())
        await _publish_each(settlement.messages, settler, until)
    return settlement


async def _publish_each(messages: tuple[Message, ...], settler: Settler, until: float) -> None:
    """Publish messages, however many there are, until then (the loop's time). Raises `PublishFailed`."""
    try:
        with within(until - asyncio.get_running_loop().time()):
            for message in messages:
                await _publish_till_taken(message, settler, until)
    except TimeoutError as error:
        raise PublishFailed(f"not all of it was published within {settler.publish_max_s:g} s") from error


async def _publish_till_taken(message: Message, settler: Settler, until: float) -> None:
    try:
        await settler.publish(message)
    except PublishFailed:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PublishFailed),
            wait=wait_random_exponential(multiplier=0.2, max=3),
            stop=stop_before_delay(until - asyncio.get_running_loop().time()),
            reraise=True,
        )
        await retrying(settler.publish, message)


def _tell(settlement: Settlement, delivery: Delivery, seconds: float, now: float) -> None:
    journey = journey_of(delivery, now)
    DELIVERIES.labels(delivery.queue, settlement.name).inc()
    DELIVERY_SECONDS.labels(delivery.queue).observe(seconds)
    DELIVERY_AGE_SECONDS.labels(delivery.queue).observe(max(0.0, now - journey.received_at))
    if settlement.name == "dead_lettered":
        DEAD_LETTERS.labels(delivery.queue, settlement.reason).inc()
    story: dict[str, Any] = {} if settlement.name == "acked" else _story(settlement)
    logger().info(
        "delivery.settled",
        outcome=settlement.name,
        queue=delivery.queue,
        account=delivery.account,
        call_id=delivery.call_id,
        attempt=journey.attempt,
        seconds=round(seconds, 4),
        published=[message.routing_key for message in settlement.messages],
        **story,
    )


def _story(settlement: Settlement) -> dict[str, Any]:
    place = "reason" if settlement.name == "dead_lettered" else "tier"
    return {place: settlement.reason, "detail": unquoted(settlement.detail)[:300]}
