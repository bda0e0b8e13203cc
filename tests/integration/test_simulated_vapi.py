"""The simulated Vapi over real sockets, against an endpoint of this test's own."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from worker.simulate.api.routes import Trouble
from worker.simulate.faults import Faults
from worker.simulate.send import BackoffPlan, send
from worker.simulate.vapi import SimulatedVapi, SimulatorSettings
from worker.simulate.webhooks import FORGED_REPORT, REPEATED_REPORT, REPORT

KEY = "private-key"
SECRET = "webhook-secret"
UNKNOWN_ID = "01a058c7-4c94-7cd1-8155-66af75f0734c"


def signer(_method: str, _url: str, _body: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRET}"}


@dataclass
class Endpoint:
    """An endpoint that keeps what it is sent, and answers what it is told to before it accepts."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    in_hand: int = 0
    most_in_hand: int = 0

    async def receive(self, request: web.Request) -> web.Response:
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        body = await request.read()
        self.in_hand -= 1
        if request.headers.get("Authorization") != f"Bearer {SECRET}":
            return web.Response(status=401)
        if self.refusals:
            return web.Response(status=self.refusals.pop(0))
        self.bodies.append(body)
        return web.Response()

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body)["message"] for body in self.bodies]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    application = web.Application(client_max_size=2**25)
    application.router.add_post("/webhooks/vapi", endpoint.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/vapi"
    yield endpoint
    await runner.cleanup()


@dataclass
class Client:
    """A client of the API with the right key."""

    session: aiohttp.ClientSession
    vapi: SimulatedVapi

    async def get(self, path: str, *, key: str = KEY, **query: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        async with self.session.get(self.vapi.url + path, headers=headers, params=query) as response:
            body = await response.read()
            return response.status, json.loads(body) if response.content_type == "application/json" else body.decode()

    async def control(self, path: str, change: dict[str, Any]) -> tuple[int, Any]:
        async with self.session.post(f"{self.vapi.url}/_simulate/{path}", json=change) as response:
            return response.status, await response.json()


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: float = 1_788_195_955.477

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def simulating(settings: SimulatorSettings) -> AsyncIterator[Client]:
    async with SimulatedVapi(settings) as vapi, aiohttp.ClientSession() as session:
        yield Client(session, vapi)


def settings(endpoint: Endpoint | None = None, **changes: Any) -> SimulatorSettings:
    base = SimulatorSettings(api_key=KEY, signer=signer, webhook_url=endpoint.url if endpoint else "", time_scale=0.01)
    return replace(base, **changes)


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
