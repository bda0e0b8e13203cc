"""Time limits on one timer for all: they end what `asyncio.timeout` would end, a little later."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from worker.operate.limits import SLOT_S, within

SHORT_S = 0.05
LONG_S = 60.0
LATE_S = 2.0
"""How long a busy machine may take to notice."""


async def for_ever() -> None:
    await asyncio.Event().wait()


async def limited(seconds: float) -> None:
    with within(seconds):
        await for_ever()


@pytest.mark.parametrize("seconds", [-1.0, 0.0, SHORT_S, 2.5 * SLOT_S])
async def test_what_takes_too_long_is_ended_and_not_before_its_time(seconds: float) -> None:
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        await limited(seconds)

    took = time.monotonic() - began
    assert max(0.0, seconds) - 0.001 <= took <= max(0.0, seconds) + 2 * SLOT_S + LATE_S


async def test_the_task_goes_on_after_it_as_if_nobody_had_cancelled_it() -> None:
    with pytest.raises(TimeoutError):
        await limited(SHORT_S)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.to_thread(threading.get_ident)


async def test_what_ends_in_time_hears_nothing_of_it_when_its_time_is_over() -> None:
    limit = within(SHORT_S)
    with limit:
        pass

    with pytest.raises(TimeoutError):
        await limited(SHORT_S + 2 * SLOT_S)

    assert not limit.expired()


async def test_of_limits_within_each_other_the_one_that_is_over_tells() -> None:
    inner = within(LONG_S)
    with pytest.raises(TimeoutError), within(SHORT_S) as outer, inner:
        await for_ever()

    assert (outer.expired(), inner.expired()) == (True, False)


async def test_an_error_of_the_block_is_its_own() -> None:
    with pytest.raises(LookupError, match="mine"), within(LONG_S):
        raise LookupError("mine")


async def cancelled_by(*cancel: Callable[[], object]) -> None:
    for each in cancel:
        each()
    await for_ever()


@pytest.mark.parametrize("seconds", [SHORT_S, LONG_S])
async def test_a_cancellation_by_others_stays_one(seconds: float) -> None:
    task = asyncio.create_task(limited(seconds))
    await asyncio.to_thread(threading.get_ident)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_by_others_is_one_even_when_the_time_is_over_too() -> None:
    task = asyncio.current_task()
    assert task is not None
    limit = within(LONG_S)

    with pytest.raises(asyncio.CancelledError), limit:
        await cancelled_by(task.cancel, limit.end)

    assert task.uncancel() == 0
    assert limit.expired()


async def test_many_at_once_are_each_ended_at_their_own_time() -> None:
    ended: list[int] = []

    async def end(number: int) -> None:
        with pytest.raises(TimeoutError):
            await limited(number * 2 * SLOT_S)
        ended.append(number)

    await asyncio.gather(*(end(number) for number in (3, 1, 2)))

    assert ended == [1, 2, 3]


def test_each_loop_has_its_own_even_in_one_thread() -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError):
            asyncio.run(limited(SHORT_S))


def test_without_a_task_there_is_nothing_to_limit() -> None:
    async def told() -> RuntimeError:
        heard: asyncio.Future[RuntimeError] = asyncio.get_running_loop().create_future()

        def limit() -> None:
            try:
                within(SHORT_S).__enter__()
            except RuntimeError as error:
                heard.set_result(error)

        asyncio.get_running_loop().call_soon(limit)
        return await heard

    assert "for a task" in str(asyncio.run(told()))
