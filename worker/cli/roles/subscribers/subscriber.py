"""Subscribers: a handler of enriched calls, with all that the worker has for it.

What a subscriber of our own and one of the user's share: duplicates are dropped by the inbox, an older event never
comes after a newer one, and what the handler raises is settled by the one table.
"""

from collections.abc import Awaitable, Callable

from consumers.enriched import EnrichedCall, read_enriched
from consumers.inbox import arrival_of, once
from consumers.messages import Delivery, Message
from worker.broker.topology import subscriber_queue
from worker.cli.roles.subscribers.finishing import Finishing
from worker.cli.roles.subscribers.handlers import open_handler
from worker.cli.running.process import Process
from worker.operate.telemetry import DUPLICATES

Act = Callable[[EnrichedCall, Delivery, str], Awaitable[str]]
"""Act on an enriched call: takes what the last event of the call left as a memo, and returns the next memo."""


async def subscribe(process: Process, name: str, act: Act) -> None:
    """Consume a subscriber's queue, acting once upon each event."""
    inbox, queue = await process.ledger(), subscriber_queue(name)
    finishing = Finishing(process.settings.prefetch)
    process.run(finishing.watch(), f"watch of {name}")
    process.stack.push_async_callback(finishing.stop)

    async def handle(delivery: Delivery, now: float) -> tuple[Message, ...]:
        call = read_enriched(delivery)
        arrival = arrival_of(name, call, delivery)
        acting = once(arrival, lambda memo: act(call, delivery, memo), inbox=inbox, now=now)
        claim = await finishing.finish(acting)
        if claim.verdict != "granted":
            DUPLICATES.labels(queue, claim.verdict).inc()
        return ()

    process.consume(queue, handle)


async def start_own(process: Process, target: str, name: str) -> None:
    """Run a handler of the user's, `package.module:function`, on the queue `calls.<name>`.

    Raises `WrongArguments` if there is no such handler, and `Unreachable` if what it needs cannot be had.
    """
    handler = await open_handler(target, process)

    async def act(call: EnrichedCall, delivery: Delivery, memo: str) -> str:
        await handler(call, delivery)
        return memo

    await subscribe(process, name, act)
