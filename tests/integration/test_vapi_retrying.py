"""What is asked of Vapi again, when, and how long all of it may take."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest

from consumers.enrich import ApiUnavailable, CallUnreadable
from tests.integration.vapi_api import Api, Play, client, drip, fetch, json, refusal, silence
from worker.clients.vapi import Patience
from worker.clients.vapi_http import retry_after_s


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 521, 524])
async def test_what_may_pass_is_tried_again(api: Api, status: int) -> None:
    assert await fetch(api, refusal(status), refusal(status), json(200, b"call")) == b"call"
    assert len(api.requests) == 3


async def test_what_does_not_pass_within_the_tries_is_a_trouble_of_the_api(api: Api) -> None:
    with pytest.raises(ApiUnavailable, match="Vapi answers 500"):
        await fetch(api, refusal(500))
    assert len(api.requests) == 3


async def test_what_one_call_meets_again_and_again_while_the_api_answers_others_is_its_own_trouble(api: Api) -> None:
    api.probe_status = 200
    with pytest.raises(CallUnreadable, match="Vapi answers 500"):
        await fetch(api, refusal(500))


async def test_a_rate_limit_is_obeyed_for_the_seconds_it_asks_for(api: Api) -> None:
    assert await fetch(api, refusal(429, 1), json(200, b"call")) == b"call"
    assert 1 <= api.asked_at[1] - api.asked_at[0] < 1.5


async def test_a_rate_limit_is_obeyed_until_the_date_it_names(api: Api) -> None:
    until = datetime.now(UTC) + timedelta(seconds=2)
    assert await fetch(api, refusal(429, format_datetime(until, usegmt=True)), json(200, b"call")) == b"call"
    assert 0.9 <= api.asked_at[1] - api.asked_at[0] < 2.5  # a date has no fractions of a second


async def test_a_rate_limit_beyond_the_budget_is_told_at_once_with_its_wait(api: Api) -> None:
    began = time.monotonic()
    with pytest.raises(ApiUnavailable, match="429") as caught:
        await fetch(api, refusal(429, 3600))
    assert caught.value.retry_after == 3600
    assert time.monotonic() - began < 0.5
    assert len(api.requests) == 1


async def test_a_rate_limit_holds_every_fetch_of_the_account(api: Api) -> None:
    api.answers = [refusal(429, 3600), json(200)]
    async with client(api.url) as vapi:
        with pytest.raises(ApiUnavailable):
            await vapi.fetch_call("1")
        with pytest.raises(ApiUnavailable):
            await vapi.fetch_call("2")
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "soon",
        "-1",
        "1.5.1",
        "²",
        "\u0661",
        "9" * 400,
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 32 Jan",
        "Wed, 21 Oct 2099 07:28:00 +9999",
        "-Infinity",
    ],
)
async def test_a_wait_that_makes_no_sense_is_no_obstacle(api: Api, nonsense: str) -> None:
    value = retry_after_s(nonsense)
    assert value is None or value >= 0

    if value is None:
        assert await fetch(api, refusal(503, nonsense), json(200, b"call")) == b"call"


@pytest.mark.parametrize(
    "asked",
    [
        *("9" * 400, "86400"),
        *("Fri, 31 Dec 2100 23:59:59 GMT", "Fri Dec 31 23:59:59 2100", "Friday, 31-Dec-60 23:59:59 GMT"),
    ],
)
async def test_no_answer_holds_an_account_for_more_than_an_hour(asked: str) -> None:
    assert retry_after_s(asked) == 3600


async def test_a_date_that_is_over_asks_for_no_wait() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("slow", [drip, silence])
async def test_an_answer_that_takes_too_long_is_a_trouble_of_the_api(api: Api, slow: Play) -> None:
    patience = Patience(budget_s=2, tries_max=2, backoff_s=0.01)
    began = time.monotonic()
    with pytest.raises(ApiUnavailable, match="does not answer in time"):
        await fetch(api, slow, patience=patience, limits=aiohttp.ClientTimeout(total=0.4, sock_read=0.3))
    assert len(api.requests) == 2
    assert time.monotonic() - began < 2


async def test_requests_keep_to_the_rate(api: Api) -> None:
    api.answers = [json(200)]
    async with client(api.url, vapi_rate=20.0) as vapi:
        await asyncio.gather(*(vapi.fetch_call(str(number)) for number in range(11)))

    assert api.asked_at[-1] - api.asked_at[0] > 0.45  # ten waits of 50 ms
    waits = [later - earlier for earlier, later in zip(api.asked_at, api.asked_at[1:], strict=False)]
    assert sorted(waits)[5] > 0.03
