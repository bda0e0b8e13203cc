"""Row 29: a delivery cancelled at every point where it awaits is never acknowledged before all it led to is safe."""

import asyncio
from typing import Any, cast

import pytest

from consumers.messages import Delivery, Message
from consumers.outcomes import Reject, Retry
from consumers.settling import Schedule
from worker.broker.deliver import Settler, deliver
from worker.broker.wire import Taken

QUEUE = "calls.enrich.default"
STEPS_MAX = 200


class Incoming:
    """A delivery that takes a few turns of the loop to acknowledge."""

    def __init__(self, published: list[Message]) -> None:
        self.body, self.headers, self.type, self.correlation_id = b"{}", dict[str, Any](), "call.ended", "a-call"
        self.content_type = self.content_encoding = self.timestamp = None
        self.published_at_ack: int | None = None
        self._published = published

    async def ack(self) -> None:
        self.published_at_ack = len(self._published)
        for _ in range(3):
            await a_turn()


async def a_turn() -> None:
    """Let the others run once."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_soon(lambda: over.done() or over.set_result(None))
    await over


def emitted(number: int) -> Message:
    return Message(exchange="calls", routing_key=f"call.enriched.{number}", body=b"{}", type="call.enriched")


async def run_for(steps: int, said: tuple[Message, ...] | Exception) -> tuple[bool, int | None]:
    """Cancel a delivery after so many turns; whether it was cancelled, and what was published at its ack, if it was."""
    published: list[Message] = []

    async def publish(message: Message) -> None:
        await a_turn()
        published.append(message)
        await a_turn()  # the confirm

    async def handle(_delivery: Delivery, _now: float) -> tuple[Message, ...]:
        await a_turn()
        if isinstance(said, Exception):
            raise said
        return said

    incoming = Incoming(published)
    settler = Settler(handle, publish, Schedule((1, 2), 60))
    task = asyncio.create_task(deliver(cast("Taken", incoming), QUEUE, settler))
    for _ in range(steps):
        await a_turn()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return task.cancelled(), incoming.published_at_ack


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((emitted(1), emitted(2), emitted(3)), 3),
        (Retry("later", first=(emitted(1),)), 3),  # the event, the copy that waits, the note
        (Reject("never"), 2),  # the letter, the note
    ],
)
async def test_29_no_cancellation_makes_an_acknowledgement_come_first(
    said: tuple[Message, ...] | Exception, expected: int
) -> None:
    for steps in range(STEPS_MAX):
        was_cancelled, published_at_ack = await run_for(steps, said)
        assert published_at_ack in (None, expected), f"cancelled after {steps} turns"
        if not was_cancelled:
            assert published_at_ack == expected
            return
    pytest.fail("the delivery was never done")
