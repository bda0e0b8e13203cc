"""However slow Vapi is, what is asked of it ends while its delivery is still handled. All times here are a tenth."""

import asyncio
import time

import aiohttp
import pytest

from consumers.enrich import ApiUnavailable, CallUnreadable
from tests.integration.vapi_api import CALL_ID, Api, Play, account, client, drip, json, refusal, silence
from tests.processes import eventually
from worker.broker.deliver import HANDLE_MAX_S
from worker.cli.roles.enricher import IN_HAND_MAX_S, KNOWN_MAX_S
from worker.clients.vapi import PATIENCE, TIMEOUT, Patience, VapiClient, vapi_session

TENTH = Patience(
    whole_s=PATIENCE.whole_s / 10,
    probe_s=PATIENCE.probe_s / 10,
    try_min_s=PATIENCE.try_min_s / 10,
    budget_s=PATIENCE.budget_s / 10,
    backoff_s=PATIENCE.backoff_s / 10,
)
LIMITS = aiohttp.ClientTimeout(total=(TIMEOUT.total or 0) / 10, sock_read=(TIMEOUT.sock_read or 0) / 10)
HANDLED_S = HANDLE_MAX_S / 10
BEAT_S = 0.05


class Late:
    """How many seconds the machine kept the event loop from running, which are none that anybody waited."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._due = time.monotonic()
        self._beat()

    def _beat(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._due
        self._due = now + BEAT_S
        self._next = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def end(self) -> None:
        self._next.cancel()


async def fail(vapi: VapiClient, end_at: float | None = None) -> tuple[type[Exception], str, float]:
    """What a fetch that fails raises, and after how many seconds of a machine that runs."""
    late, began = Late(), time.monotonic()
    with pytest.raises((ApiUnavailable, CallUnreadable)) as caught:
        await vapi.fetch_call(CALL_ID, end_at=end_at)
    late.end()
    return caught.type, str(caught.value), time.monotonic() - began - late.seconds


@pytest.mark.parametrize("slow", [drip, silence])
async def test_a_wait_for_the_rate_slow_tries_and_a_probe_without_answer_end_as_a_trouble_of_the_api_in_time(
    api: Api, slow: Play
) -> None:
    api.answers, api.probe_play = [slow], silence
    async with client(api.url, TENTH, LIMITS, vapi_rate=0.42) as vapi:  # the second try waits for its turn
        kind, reason, seconds = await fail(vapi)

        assert (kind, reason) == (ApiUnavailable, "Vapi does not answer in time")
        assert seconds < HANDLED_S
        assert vapi.breaker.is_open
    assert len(api.requests) == 2


@pytest.mark.parametrize("slow", [drip, silence])
async def test_a_call_that_alone_is_slow_is_told_from_an_outage_in_time(api: Api, slow: Play) -> None:
    api.answers, api.probe_status = [slow], 200
    async with client(api.url, TENTH, LIMITS) as vapi:
        kind, reason, seconds = await fail(vapi)

        assert (kind, reason) == (
            CallUnreadable,
            "Vapi does not answer in time for this call, though it answers others",
        )
        assert seconds < HANDLED_S
        assert not vapi.breaker.is_open


async def test_what_was_waited_before_the_fetch_is_taken_off_its_time(api: Api) -> None:
    api.answers, api.probe_play = [drip], silence
    async with client(api.url, TENTH, LIMITS) as vapi:
        kind, _, seconds = await fail(vapi, vapi.deadline() - TENTH.whole_s / 2)

    assert kind is ApiUnavailable
    assert seconds < HANDLED_S - TENTH.whole_s / 2


async def test_a_turn_that_leaves_no_time_for_a_try_is_refused_at_once_and_opens_nothing(api: Api) -> None:
    api.answers = [json(200)]
    async with client(api.url, TENTH, LIMITS, vapi_rate=0.6) as vapi:
        await vapi.fetch_call("before")  # the next turn is 1.7 s away
        kind, reason, seconds = await fail(vapi, vapi.deadline() - 1.2)

        assert (kind, seconds < 0.5) == (ApiUnavailable, True)
        assert "our own rate limit" in reason
        assert not vapi.breaker.is_open


async def test_a_retry_after_that_leaves_no_time_for_a_try_is_not_waited_out(api: Api) -> None:
    api.answers = [refusal(503, 2), json(200)]
    async with client(api.url, TENTH, LIMITS) as vapi:
        kind, reason, seconds = await fail(vapi, vapi.deadline() - 1.2)

    assert (kind, reason, seconds < 0.5) == (ApiUnavailable, "Vapi answers 503", True)


async def test_slow_fetches_leave_a_connection_for_the_probe(api: Api) -> None:
    api.answers, api.probe_status = [silence], 200
    async with vapi_session(1, aiohttp.ClientTimeout(total=10)) as http:
        vapi = VapiClient(account(api.url), http, patience=TENTH)
        fetching = asyncio.create_task(fail(vapi))
        await eventually(lambda: api.requests)
        async with asyncio.timeout(1):
            await vapi.probe()
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)


def test_a_fetch_ends_well_before_its_delivery_is_taken_from_its_consumer() -> None:
    assert PATIENCE.whole_s + 5 <= HANDLE_MAX_S


def test_whatever_the_enricher_waits_for_before_leaves_time_for_a_try_and_a_probe() -> None:
    assert IN_HAND_MAX_S + KNOWN_MAX_S + PATIENCE.try_min_s + PATIENCE.probe_s <= PATIENCE.whole_s
