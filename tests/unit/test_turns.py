"""Turns: one task goes on in each round of the loop, two at the most, and in the order in which they asked."""

import asyncio
from collections import Counter

import pytest

from worker.operate.turns import Turns


async def went(turns: Turns, number: int, rounds: list[int], taken: dict[int, int]) -> None:
    await turns.next()
    taken[number] = len(rounds)


async def counted(count: int, cancelled: tuple[int, ...] = ()) -> dict[int, int]:
    """In which round of the loop each of so many went on."""
    turns, rounds, taken = Turns(), list[int](), dict[int, int]()
    loop = asyncio.get_running_loop()

    def count_rounds() -> None:
        rounds.append(len(rounds))
        if len(rounds) < 10 * count:
            loop.call_soon(count_rounds)

    tasks = [asyncio.create_task(went(turns, number, rounds, taken)) for number in range(count)]
    loop.call_soon(count_rounds)
    if cancelled:
        loop.call_soon(lambda: [tasks[each].cancel() for each in cancelled])
    await asyncio.gather(*tasks, return_exceptions=True)
    return taken


async def test_those_that_come_together_go_on_one_a_round_and_in_order() -> None:
    taken = await counted(5)

    assert list(taken) == [0, 1, 2, 3, 4]
    assert len(set(taken.values())) == 5


@pytest.mark.parametrize("arrivals", [[1] * 20, [3, 0, 1, 1, 2, 0, 0, 1], [0, 2, 1, 0, 1, 1, 1, 4]])
async def test_however_they_come_no_more_than_two_go_on_in_a_round(arrivals: list[int]) -> None:
    turns, rounds, taken, tasks = Turns(), list[int](), dict[int, int](), list[asyncio.Task[None]]()
    loop, is_over = asyncio.get_running_loop(), asyncio.Event()

    def count_rounds() -> None:
        rounds.append(len(rounds))
        now = arrivals[len(rounds) - 1] if len(rounds) <= len(arrivals) else 0
        numbers = range(len(tasks), len(tasks) + now)
        tasks.extend([asyncio.create_task(went(turns, number, rounds, taken)) for number in numbers])
        if len(taken) == sum(arrivals):
            is_over.set()
        else:
            loop.call_soon(count_rounds)

    loop.call_soon(count_rounds)
    await asyncio.wait_for(is_over.wait(), 10)

    assert list(taken) == sorted(taken)
    assert max(Counter(taken.values()).values()) <= 2


async def test_one_that_is_cancelled_while_it_waits_is_passed_over() -> None:
    assert list(await counted(5, cancelled=(1, 2, 4))) == [0, 3]


async def test_who_comes_alone_goes_on_at_once() -> None:
    turns = Turns()
    coroutine = turns.next()

    with pytest.raises(StopIteration):
        coroutine.send(None)
