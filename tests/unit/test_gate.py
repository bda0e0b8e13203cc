"""The gate before a target, with a clock of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from consumers.outcomes import Retry
from worker.clients.target.gate import Gate, Patience

BRIEF = Patience(failures=3, pause_min_s=5, pause_max_s=40, turn_s=0.01)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    return Gate("zapier", 2, patience=BRIEF, clock=clock)


async def fail(gate: Gate, times: int = 1) -> None:
    for _ in range(times):
        async with gate.turn():
            gate.failed("does not answer")


async def turned_away(gate: Gate) -> Retry:
    with pytest.raises(Retry) as away:
        async with gate.turn():
            pass
    return away.value


@asynccontextmanager
async def inside(gate: Gate, count: int) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(gate.turn())
        yield


async def test_some_failures_are_nobodys_concern(gate: Gate) -> None:
    await fail(gate, 2)
    gate.answered()
    await fail(gate, 2)

    async with gate.turn():
        pass


async def test_after_failures_in_a_row_it_is_left_alone_and_then_tried_by_one_at_a_time(
    gate: Gate, clock: Clock
) -> None:
    await fail(gate, 3)
    away = await turned_away(gate)
    assert (away.reason, away.after) == ("is left alone for 5 s: it does not answer", 5)

    clock.now += 5

    async with gate.turn():
        assert (await turned_away(gate)).reason == "is being tried by another call: it does not answer"
        gate.answered()
    async with inside(gate, 2):
        pass


async def test_each_try_that_fails_makes_the_pause_longer_up_to_its_limit(gate: Gate, clock: Clock) -> None:
    await fail(gate, 2)
    pauses = []
    for _ in range(6):
        await fail(gate)
        pauses.append((await turned_away(gate)).after)
        clock.now += pauses[-1] or 0

    assert pauses == [5, 10, 20, 40, 40, 40]
    async with gate.turn():
        gate.answered()
    await fail(gate, 3)
    assert (await turned_away(gate)).after == 5


async def test_many_that_fail_at_the_same_time_are_one_reason_for_a_pause(clock: Clock) -> None:
    gate = Gate("zapier", 20, patience=BRIEF, clock=clock)

    async with inside(gate, 20):
        with capture_logs() as logs:
            for _ in range(20):
                gate.failed("does not answer")

    assert (await turned_away(gate)).after == 5
    assert [line["event"] for line in logs] == ["forward.paused"]


async def test_who_asks_for_time_is_given_it_and_all_may_come_afterwards(gate: Gate, clock: Clock) -> None:
    gate.rest(90, "answered 429, and asked for it")
    gate.rest(30, "answered 429, and asked for it")
    gate.answered()

    away = await turned_away(gate)
    assert (away.reason, away.after) == ("is left alone for 90 s: it answered 429, and asked for it", 90)

    clock.now += 90
    async with inside(gate, 2):
        pass


async def test_who_finds_it_full_waits_a_moment_for_a_turn(clock: Clock) -> None:
    gate = Gate("zapier", 1, patience=Patience(turn_s=5), clock=clock)
    async with gate.turn():
        waiting = asyncio.create_task(_pass(gate))
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def _pass(gate: Gate) -> None:
    async with gate.turn():
        pass


async def test_who_waits_for_a_turn_when_the_gate_is_closed_is_turned_away_and_keeps_no_place(clock: Clock) -> None:
    gate = Gate("zapier", 1, patience=Patience(turn_s=5, failures=1), clock=clock)
    async with gate.turn():
        waiting = asyncio.create_task(turned_away(gate))
        await asyncio.sleep(0)
        gate.failed("does not answer")
    assert (await waiting).after == 5

    clock.now += 5
    await _pass(gate)


async def test_those_who_find_it_full_too_long_are_told_to_come_one_after_the_other(gate: Gate) -> None:
    async with inside(gate, 2):
        waits = [(await turned_away(gate)).after for _ in range(3)]

    assert waits == pytest.approx([0.5, 1.0, 1.5])  # two at once, a second each


async def test_nobody_waits_at_a_gate_that_has_not_moved_for_a_while(clock: Clock) -> None:
    gate = Gate("zapier", 1, patience=Patience(turn_s=5), clock=clock)
    async with gate.turn():
        clock.now += 5
        async with asyncio.timeout(1):
            await turned_away(gate)


async def test_an_error_or_a_cancellation_inside_gives_the_place_back(gate: Gate) -> None:
    for error in (ValueError, asyncio.CancelledError):
        for _ in range(3):
            with pytest.raises(error):
                async with gate.turn():
                    raise error
    async with inside(gate, 2):
        pass
