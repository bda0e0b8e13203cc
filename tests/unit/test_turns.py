"""Turns: one task goes on in each round of the loop, and in the order in which they asked."""

import asyncio

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


async def test_one_that_is_cancelled_while_it_waits_is_passed_over() -> None:
    assert list(await counted(5, cancelled=(1, 2, 4))) == [0, 3]


async def test_who_comes_alone_goes_on_at_once() -> None:
    turns = Turns()
    coroutine = turns.next()

    with pytest.raises(StopIteration):
        coroutine.send(None)
