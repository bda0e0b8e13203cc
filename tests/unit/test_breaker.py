import asyncio
from collections.abc import Callable

from consumers.enrich import ApiUnavailable
from tests.processes import eventually
from worker.clients.breaker import Breaker


class Api:
    """Answers a probe, or says why not; counts how often it was asked."""

    def __init__(self, *, is_up: bool, retry_after: float | None = None) -> None:
        self.is_up = is_up
        self.retry_after = retry_after
        self.asked = 0

    async def probe(self) -> None:
        self.asked += 1
        await asyncio.get_running_loop().run_in_executor(None, int)  # as a request would, it lets others run
        if not self.is_up:
            raise ApiUnavailable("Vapi answers 503", self.retry_after)


async def running(breaker: Breaker, check: Callable[[], bool]) -> None:
    run = asyncio.create_task(breaker.run())
    try:
        await eventually(check)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_it_is_closed_at_first_and_open_at_once_when_told() -> None:
    breaker = Breaker("default", Api(is_up=False).probe)
    assert not breaker.is_open

    breaker.open("the key is refused")

    assert breaker.is_open
    assert breaker.reason == "the key is refused"
    assert not await breaker.wait_closed(0.01)


async def test_trouble_that_the_probe_does_not_meet_is_the_calls_own() -> None:
    breaker = Breaker("default", Api(is_up=True).probe)

    assert not await breaker.is_shared(ApiUnavailable("Vapi answers 500"))
    assert not breaker.is_open


async def test_trouble_that_the_probe_meets_too_is_everyones() -> None:
    breaker = Breaker("default", Api(is_up=False).probe)

    assert await breaker.is_shared(ApiUnavailable("Vapi answers 500"))
    assert breaker.is_open


async def test_however_many_doubt_at_once_the_api_is_asked_once() -> None:
    api = Api(is_up=True)
    breaker = Breaker("default", api.probe)

    answers = await asyncio.gather(*(breaker.is_shared(ApiUnavailable("timeout")) for _ in range(50)))

    assert (set(answers), api.asked) == ({False}, 1)


async def test_once_open_nobody_asks_but_the_probe() -> None:
    api = Api(is_up=False)
    breaker = Breaker("default", api.probe)
    breaker.open("down")

    assert await breaker.is_shared(ApiUnavailable("down"))
    assert api.asked == 0


async def test_it_closes_when_the_api_answers_again_and_can_open_anew() -> None:
    api = Api(is_up=False)
    breaker = Breaker("default", api.probe, pause_min_s=0.01)
    breaker.open("down")
    await running(breaker, lambda: api.asked >= 3)
    assert breaker.is_open

    api.is_up = True
    await running(breaker, lambda: not breaker.is_open)

    assert await breaker.wait_closed(0)
    breaker.open("down again")
    assert breaker.is_open


async def test_a_retry_after_is_waited_out_before_the_first_probe() -> None:
    api = Api(is_up=True)
    breaker = Breaker("default", api.probe, pause_min_s=0.01)
    loop = asyncio.get_running_loop()
    began = loop.time()
    breaker.open("429", 0.3)

    await running(breaker, lambda: not breaker.is_open)

    assert loop.time() - began >= 0.3
    assert api.asked == 1


async def test_a_retry_after_of_the_probes_own_answer_is_waited_out_too() -> None:
    api = Api(is_up=False, retry_after=0.3)
    breaker = Breaker("default", api.probe, pause_min_s=0.01)
    loop = asyncio.get_running_loop()
    began = loop.time()
    breaker.open("down")

    await running(breaker, lambda: api.asked >= 2)

    assert loop.time() - began >= 0.3


async def test_no_retry_after_keeps_the_probe_waiting_for_longer_than_its_longest_pause() -> None:
    api = Api(is_up=False, retry_after=3600)
    breaker = Breaker("default", api.probe, pause_min_s=0.01, pause_max_s=0.1)
    breaker.open("429", 3600)

    await running(breaker, lambda: api.asked >= 3)
