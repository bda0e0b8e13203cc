"""The simulated Vapi over real sockets, against an endpoint of this test's own."""

from typing import Any

import aiohttp
import pytest

from tests.integration.simulated import UNKNOWN_ID, Endpoint, settings, signer, simulating
from worker.simulate.api.routes import Trouble
from worker.simulate.faults import Faults
from worker.simulate.send import send
from worker.simulate.vapi import SimulatedVapi


async def test_a_call_that_ended_is_served_and_its_webhook_sent(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint)) as client:
        [call] = await client.vapi.end_calls(1)
        await client.vapi.finish()
        status, document = await client.get(f"/call/{call.outline.id}")

    assert status == 200
    assert document["id"] == call.outline.id
    [message] = endpoint.messages()
    assert message["type"] == "end-of-call-report"
    assert message["call"]["id"] == call.outline.id
    assert message["endedReason"] == document["endedReason"]


async def test_calls_end_by_themselves_at_a_rate(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint, rate=1_000.0, count=30)) as client:
        await client.vapi.finish()
        account = client.vapi.account.tell()

    assert account["ended"] == len(endpoint.bodies) == 30
    assert [call["number"] for call in account["calls"]] == list(range(30))
    assert all(call["webhooks"][0]["status"] == 200 for call in account["calls"])


def test_calls_cannot_end_by_themselves_without_a_rate() -> None:
    with pytest.raises(ValueError, match="rate"):
        settings(count=None)


async def test_two_runs_of_a_seed_end_the_same_kinds_of_calls() -> None:
    reasons = []
    for _ in range(2):
        async with simulating(settings(seed=5)) as client:
            reasons.append([call.outline.ending.reason for call in await client.vapi.end_calls(20)])

    assert reasons[0] == reasons[1]


async def test_webhooks_are_sent_a_bounded_number_at_a_time(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint, concurrency=3)) as client:
        await client.vapi.end_calls(40)
        await client.vapi.finish()

    assert len(endpoint.bodies) == 40
    assert endpoint.most_in_hand <= 3


async def test_a_wrong_key_is_refused_in_vapis_words() -> None:
    async with simulating(settings()) as client:
        status, body = await client.get("/call", key="wrong")

    assert status == 401
    assert body["message"].startswith("Invalid Key")


async def test_what_is_no_uuid_is_a_bad_request_and_what_is_unknown_is_not_found() -> None:
    async with simulating(settings()) as client:
        assert await client.get("/call/7") == (
            400,
            {"message": ["id must be a UUID"], "error": "Bad Request", "statusCode": 400},
        )
        assert (await client.get(f"/call/{UNKNOWN_ID}"))[0] == 404


async def test_two_fetches_of_a_call_differ_in_presigned_urls_alone() -> None:
    async with simulating(settings(size_bytes=20_000)) as client:
        calls = await client.vapi.end_calls(30)
        recorded = next(
            c.outline for c in calls if c.outline.ending.is_answered and not c.outline.is_zero_data_retention
        )
        _, first = await client.get(f"/call/{recorded.id}")
        _, second = await client.get(f"/call/{recorded.id}")

    assert first["artifact"].pop("presignedMonoUrl") != second["artifact"].pop("presignedMonoUrl")
    for document in (first, second):
        document["artifact"].pop("presignedStereoUrl")
        document["artifact"].pop("presignedUrlsExpiresAt")
    assert first == second


async def test_the_list_shows_whole_calls_newest_first_and_takes_filters() -> None:
    async with simulating(settings()) as client:
        await client.vapi.end_calls(120)
        _, default = await client.get("/call")
        _, all_calls = await client.get("/call", limit="1000")
        _, since = await client.get("/call", updatedAtGe=all_calls[0]["updatedAt"], limit="1000")
        status, refusal = await client.get("/call", limit="1001")

    assert len(default) == 100
    assert len(all_calls) == 120
    created = [call["createdAt"] for call in all_calls]
    assert created == sorted(created, reverse=True)
    assert {call["id"] for call in since} == {c["id"] for c in all_calls if c["updatedAt"] >= all_calls[0]["updatedAt"]}
    assert (status, refusal["statusCode"]) == (400, 400)


async def test_the_control_door_ends_calls_and_tells_the_account(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint)) as client:
        status, ordered = await client.control("calls", {"count": 3})
        await client.vapi.finish()
        _, account = await client.get("/_simulate/account", key="none needed")

    assert status == 200
    assert [call["id"] for call in account["calls"]] == ordered["calls"]
    assert all(call["webhooks"][0]["status"] == 200 for call in account["calls"])


async def test_the_control_door_changes_one_trouble_and_leaves_the_others() -> None:
    async with simulating(settings()) as client:
        await client.control("faults", {"latency_s": 0.001})
        assert await client.control("faults", {"refuse_key": True}) == (
            200,
            {"down": "", "refuse_key": True, "latency_s": 0.001},
        )
        assert (await client.get("/call"))[0] == 401
        await client.control("faults", {"refuse_key": False, "down": "503"})
        status, page = await client.get("/call")

    assert status == 503
    assert "<!DOCTYPE html>" in page


async def test_the_control_door_changes_the_faults_of_later_calls() -> None:
    async with simulating(settings()) as client:
        await client.control("faults", {"faults": "gone=1"})
        [call] = await client.vapi.end_calls(1)

    assert call.faults.is_gone


@pytest.mark.parametrize("change", [{"down": "sideways"}, {"mood": "bad"}, {"faults": "rain=1"}, {"latency_s": "long"}])
async def test_the_control_door_refuses_what_it_does_not_know(change: dict[str, Any]) -> None:
    async with simulating(settings()) as client:
        status, _ = await client.control("faults", change)

        assert status == 400
        assert client.vapi.trouble == Trouble()


async def test_an_api_that_is_down_closes_connections_and_comes_back() -> None:
    async with simulating(settings()) as client:
        client.vapi.trouble = Trouble(down="closed")
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get("/call")
        client.vapi.trouble = Trouble()

        assert await client.get("/call") == (200, [])


async def test_closing_gives_up_webhooks_that_are_not_answered(endpoint: Endpoint) -> None:
    async with simulating(settings(endpoint, faults=Faults(out_of_order=1), time_scale=1_000.0)) as client:
        await client.vapi.end_calls(3)

    assert not [message for message in endpoint.messages() if message["type"] == "end-of-call-report"]


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    async with simulating(settings()) as client:
        port = int(client.vapi.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match=str(port)):
            await SimulatedVapi(settings(port=port)).start()


async def test_sending_posts_signed_bodies_and_answers_in_their_order(endpoint: Endpoint) -> None:
    bodies = [(f"body {n}", f'{{"message": {{"number": {n}}}}}'.encode()) for n in range(10)]
    answers = await send(bodies, url=endpoint.url, signer=signer, concurrency=4)

    assert [answer.name for answer in answers] == [name for name, _ in bodies]
    assert all(answer.is_accepted for answer in answers)
    assert sorted(endpoint.bodies) == sorted(body for _, body in bodies)
    assert endpoint.most_in_hand <= 4
