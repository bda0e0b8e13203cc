"""The faults of the simulated Vapi over real sockets: late, missing and broken answers, odd and refused webhooks."""

import aiohttp
import pytest

from tests.integration.simulated import KEY, Clock, Endpoint, settings, simulating
from worker.simulate.faults import Faults
from worker.simulate.send import BackoffPlan
from worker.simulate.webhooks import FORGED_REPORT, REPEATED_REPORT, REPORT


async def test_a_call_that_is_late_becomes_final() -> None:
    clock = Clock()
    async with simulating(settings(faults=Faults(late=1), time_scale=1.0, clock=clock)) as client:
        calls = await client.vapi.end_calls(20)
        path = f"/call/{next(call.outline.id for call in calls if call.outline.ending.is_answered)}"
        _, early = await client.get(path)
        clock.now += 10
        _, final = await client.get(path)

    assert "cost" not in early
    assert "cost" in final


async def test_a_call_that_is_not_found_is_found_later() -> None:
    clock = Clock()
    async with simulating(settings(faults=Faults(not_found=1), time_scale=1.0, clock=clock)) as client:
        [call] = await client.vapi.end_calls(1)
        first, _ = await client.get(f"/call/{call.outline.id}")
        clock.now += 10
        later, _ = await client.get(f"/call/{call.outline.id}")

    assert (first, later) == (404, 200)


async def test_a_call_that_is_gone_stays_gone_and_is_not_listed(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint, faults=Faults(gone=1))) as client:
        [call] = await client.vapi.end_calls(1)
        await client.vapi.finish()

        assert (await client.get(f"/call/{call.outline.id}"))[0] == 404
        assert await client.get("/call") == (200, [])
    assert len(endpoint.bodies) == 1


async def test_refusals_come_first_and_the_call_after_them() -> None:
    async with simulating(settings(faults=Faults(rate_limited=1, server_error=1))) as client:
        [call] = await client.vapi.end_calls(1)
        statuses = [(await client.get(f"/call/{call.outline.id}"))[0] for _ in range(5)]
        told = client.vapi.account.tell()["calls"][0]["fetches"]

    assert statuses[0] == 429
    assert statuses[4] == 200
    assert any(status >= 500 for status in statuses)
    assert sum(told.values()) == 5


async def test_a_rate_limit_says_when_to_come_again() -> None:
    async with simulating(settings(faults=Faults(rate_limited=1), time_scale=1.0)) as client:
        [call] = await client.vapi.end_calls(1)
        url, headers = f"{client.vapi.url}/call/{call.outline.id}", {"Authorization": f"Bearer {KEY}"}
        async with client.session.get(url, headers=headers) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "2"


async def test_a_truncated_body_promises_more_than_it_holds() -> None:
    async with simulating(settings(faults=Faults(truncated=1))) as client:
        [call] = await client.vapi.end_calls(1)
        path = f"/call/{call.outline.id}"
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.get(path)

        for _ in range(call.faults.truncations - 1):
            with pytest.raises(aiohttp.ClientPayloadError):
                await client.get(path)

        assert (await client.get(path))[0] == 200


async def test_a_slow_body_is_whole_in_the_end() -> None:
    async with simulating(settings(faults=Faults(slow=1))) as client:
        [call] = await client.vapi.end_calls(1)

        assert (await client.get(f"/call/{call.outline.id}"))[1]["id"] == call.outline.id


async def test_a_dropped_webhook_is_never_sent_yet_the_call_is_listed(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint, faults=Faults(dropped=1))) as client:
        [call] = await client.vapi.end_calls(1)
        await client.vapi.finish()
        _, listed = await client.get("/call")

    assert endpoint.bodies == []
    assert [document["id"] for document in listed] == [call.outline.id]


async def test_a_doubled_webhook_has_other_bytes_for_the_same_call(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint, faults=Faults(doubled=1), size_bytes=20_000)) as client:
        calls = await client.vapi.end_calls(30)
        await client.vapi.finish()

    assert calls[0].planned == (REPORT, REPEATED_REPORT)
    assert len(endpoint.bodies) == 60
    assert len(set(endpoint.bodies)) > 30
    assert len({message["call"]["id"] for message in endpoint.messages()}) == 30


async def test_noise_comes_before_and_after_reports_that_are_out_of_order(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint, faults=Faults(out_of_order=1))) as client:
        calls = await client.vapi.end_calls(20)
        await client.vapi.finish()

    reports = [m["call"]["id"] for m in endpoint.messages() if m["type"] == "end-of-call-report"]
    assert sorted(reports) == sorted(call.outline.id for call in calls)
    assert reports != [call.outline.id for call in calls]
    of_one = [m["type"] for m in endpoint.messages() if m["call"]["id"] == reports[0]]
    assert of_one == ["status-update", "conversation-update", "end-of-call-report", "status-update", "speech-update"]


async def test_forged_webhooks_are_refused_and_carry_ids_that_never_were(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint, faults=Faults(bad_credentials=1))) as client:
        [call] = await client.vapi.end_calls(1)
        await client.vapi.finish()

    assert {sent.kind: sent.status for sent in call.webhooks} == {FORGED_REPORT: 401, REPORT: 200}
    assert [message["call"]["id"] for message in endpoint.messages()] == [call.outline.id]


async def test_a_refused_webhook_is_lost_by_default(endpoint: Endpoint) -> None:
    endpoint.refusals = [503]
    async with simulating(settings(endpoint)) as client:
        [call] = await client.vapi.end_calls(1)
        await client.vapi.finish()

    assert endpoint.bodies == []
    assert [(sent.status, sent.tries) for sent in call.webhooks] == [(503, 1)]


async def test_a_refused_webhook_comes_again_with_a_backoff_plan(endpoint: Endpoint) -> None:
    endpoint.refusals = [503, 500]
    backoff = BackoffPlan(max_retries=3, base_delay_s=0.001)
    async with simulating(settings(endpoint, webhook_retries=backoff)) as client:
        [call] = await client.vapi.end_calls(1)
        await client.vapi.finish()

    assert [(sent.status, sent.tries) for sent in call.webhooks] == [(200, 3)]


async def test_a_webhook_without_an_answer_is_told_of(endpoint: Endpoint, unused_tcp_port: int) -> None:
    async with simulating(settings(endpoint, webhook_url=f"http://127.0.0.1:{unused_tcp_port}/")) as client:
        [call] = await client.vapi.end_calls(1)
        await client.vapi.finish()

    [sent] = call.webhooks
    assert sent.status is None
    assert "Connect" in sent.error
