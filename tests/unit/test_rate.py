import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.clients.rate import Rate, RateExceeded


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


def rate_of(time: Time, per_second: float = 5) -> Rate:
    return Rate(per_second, clock=time.clock, sleep=time.sleep)


async def turns(rate: Rate, time: Time, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        await rate.turn(1e9)
        taken.append(time.now)
    return taken


async def test_the_first_turn_is_at_once(time: Time) -> None:
    assert await turns(rate_of(time), time, 1) == [1000.0]
    assert time.slept == []


@given(st.floats(0.1, 1000))
def test_turns_are_evenly_spaced_at_the_rate(per_second: float) -> None:
    time = Time()
    taken = asyncio.run(turns(rate_of(time, per_second), time, 5))
    assert [later - earlier for earlier, later in pairwise(taken)] == pytest.approx([1 / per_second] * 4, abs=1e-6)


async def test_idle_time_saves_up_no_burst(time: Time) -> None:
    rate = rate_of(time)
    await turns(rate, time, 1)
    time.now += 60
    assert await turns(rate, time, 3) == pytest.approx([1060.0, 1060.2, 1060.4])


async def test_a_429_halves_the_rate(time: Time) -> None:
    rate = rate_of(time)
    rate.slow_down(None)
    assert await turns(rate, time, 2) == pytest.approx([1000.0, 1000.4])


async def test_the_rate_never_falls_below_a_fiftieth(time: Time) -> None:
    rate = rate_of(time)
    for _ in range(99):
        rate.slow_down(None)
    assert await turns(rate, time, 2) == pytest.approx([1000.0, 1010.0])


async def test_the_rate_returns_by_itself_with_the_successes_and_never_beyond(time: Time) -> None:
    rate = rate_of(time)
    rate.slow_down(None)
    for _ in range(24):
        rate.speed_up()
    assert await turns(rate, time, 2) == pytest.approx([1000.0, 1000 + 1 / 4.9])
    for _ in range(9):
        rate.speed_up()
    time.now = 2000
    assert await turns(rate, time, 2) == pytest.approx([2000.0, 2000.2])


async def test_retry_after_holds_the_next_turn(time: Time) -> None:
    rate = rate_of(time)
    rate.slow_down(7)
    assert await turns(rate, time, 1) == [1007.0]


async def test_a_shorter_retry_after_takes_nothing_off_a_longer_one(time: Time) -> None:
    rate = rate_of(time)
    rate.slow_down(7)
    rate.slow_down(1)
    assert await turns(rate, time, 1) == [1007.0]


async def test_retry_after_holds_those_who_wait_for_their_turn_already() -> None:
    time = Time()

    async def sleep_and_be_told(seconds: float) -> None:
        await time.sleep(seconds)
        if len(time.slept) == 1:
            rate.slow_down(30)

    rate = Rate(5, clock=time.clock, sleep=sleep_and_be_told)
    await rate.turn(100)
    await rate.turn(100)
    assert time.now == pytest.approx(1030.2)


async def test_a_wait_that_would_be_too_long_is_refused_at_once(time: Time) -> None:
    rate = rate_of(time)
    rate.slow_down(21)
    with pytest.raises(RateExceeded) as caught:
        await rate.turn(20)
    assert caught.value.wait_s == pytest.approx(21)
    assert time.slept == []


async def test_a_turn_that_was_refused_is_not_used_up(time: Time) -> None:
    rate = rate_of(time)
    rate.slow_down(21)
    for _ in range(9):
        with pytest.raises(RateExceeded):
            await rate.turn(20)
    await rate.turn(21)
    assert time.now == 1021.0


async def test_who_is_held_for_longer_than_it_can_wait_is_refused() -> None:
    time = Time()

    async def sleep_and_be_told(seconds: float) -> None:
        await time.sleep(seconds)
        rate.slow_down(30)

    rate = Rate(5, clock=time.clock, sleep=sleep_and_be_told)
    await rate.turn(20)
    with pytest.raises(RateExceeded):
        await rate.turn(20)


async def test_many_at_once_take_turns_in_the_order_they_came(time: Time) -> None:
    order: list[int] = []
    rate = rate_of(time)

    async def take(number: int) -> None:
        await rate.turn(1e9)
        order.append(number)

    await asyncio.gather(*map(take, range(5)))
    assert order == [0, 1, 2, 3, 4]
    assert time.slept == pytest.approx([0.2] * 4, abs=0.01)
