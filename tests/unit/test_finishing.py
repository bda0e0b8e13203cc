"""What was begun goes on when its delivery is cut off."""

import asyncio
from collections.abc import Coroutine
from threading import Event
from typing import Any

import pytest

from worker.cli.roles.subscribers.finishing import AllHang, Finishing
from worker.operate.threads import Threads


async def cut_off(finishing: Finishing, work: Coroutine[Any, Any, Any]) -> None:
    delivery = asyncio.ensure_future(finishing.finish(work))
    await asyncio.wait([delivery], timeout=0.01)
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery


async def stubborn(until: asyncio.Event) -> None:
    while not until.is_set():
        try:
            await until.wait()
        except asyncio.CancelledError:
            continue


async def test_work_returns_and_raises_as_it_does() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    finishing = Finishing(1)
    assert await finishing.finish(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ZeroDivisionError):
        await finishing.finish(fail())


async def test_what_is_cut_off_goes_on_to_its_end_and_no_error_of_it_is_left_lying() -> None:
    goes_on, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await goes_on.wait()
        ended.set()
        raise ZeroDivisionError

    await cut_off(Finishing(1), work())
    goes_on.set()

    await asyncio.wait_for(ended.wait(), 5)


async def test_what_takes_too_long_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await cut_off(Finishing(1, finish_s=0.05), work())

    await asyncio.wait_for(cancelled.wait(), 5)


async def test_when_all_hang_and_cannot_be_cancelled_the_process_is_to_end() -> None:
    finishing, until = Finishing(2, finish_s=0.05, cancel_s=0.02), asyncio.Event()
    watching = asyncio.ensure_future(finishing.watch())

    await cut_off(finishing, stubborn(until))
    done, _ = await asyncio.wait([watching], timeout=0.2)
    assert not done

    await cut_off(finishing, stubborn(until))
    with pytest.raises(AllHang, match="2 handlers hang"):
        await asyncio.wait_for(watching, 5)
    until.set()


async def test_at_the_end_what_goes_on_is_cancelled_and_what_does_not_end_is_not_waited_for() -> None:
    finishing, until = Finishing(1, cancel_s=0.05), asyncio.Event()
    ended = asyncio.ensure_future(asyncio.Event().wait())
    await cut_off(finishing, stubborn(until))
    await cut_off(finishing, asyncio.wait_for(ended, 5))

    await asyncio.wait_for(finishing.stop(), 5)

    assert ended.cancelled()
    until.set()


async def test_a_function_that_began_in_a_thread_is_waited_for_and_one_that_did_not_is_left() -> None:
    threads, goes_on, began = Threads("test"), Event(), []

    def work() -> str:
        began.append("work")
        goes_on.wait(5)
        return "done"

    first, second = (asyncio.ensure_future(threads.outlast(work)) for _ in range(2))
    await asyncio.wait([first], timeout=0.05)
    first.cancel()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    goes_on.set()

    assert await asyncio.wait_for(first, 5) == "done"
    assert began == ["work"]
    threads.stop()


async def test_a_function_that_raises_a_cancellation_is_not_waited_for_again() -> None:
    def work() -> None:
        raise asyncio.CancelledError

    threads = Threads("test")
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(threads.outlast(work), 5)
    threads.stop()
