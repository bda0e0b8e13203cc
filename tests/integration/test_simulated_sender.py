import aiohttp
import pytest

from worker.simulate.vapi import SimulatedVapi, SimulatorSettings

KEY = {"Authorization": "Bearer key"}


@pytest.fixture
def settings() -> SimulatorSettings:
    return SimulatorSettings(api_key="key", webhook_url="http://127.0.0.1:1/webhooks/vapi")


async def test_assistants_and_numbers_post_to_the_webhook_url_with_a_backoff_plan(settings: SimulatorSettings) -> None:
    async with SimulatedVapi(settings) as vapi, aiohttp.ClientSession(vapi.url, headers=KEY) as http:
        for path in ("/assistant?limit=100", "/phone-number?limit=100"):
            async with http.get(path) as answer:
                senders = await answer.json()
            assert {sender["server"]["url"] for sender in senders} == {settings.webhook_url}
            assert all(sender["server"]["backoffPlan"]["maxRetries"] == 10 for sender in senders)
        async with http.get("/org") as answer:
            assert answer.status == 403


async def test_the_control_door_changes_them_and_refuses_what_it_does_not_know(settings: SimulatorSettings) -> None:
    async with SimulatedVapi(settings) as vapi, aiohttp.ClientSession(vapi.url, headers=KEY) as http:
        changed = {"assistants": [{"id": "a"}], "org": {"id": "o"}}
        async with http.post("/_simulate/sender", json=changed) as answer:
            assert answer.status == 200
        async with http.get("/assistant") as answer:
            assert await answer.json() == [{"id": "a"}]
        async with http.get("/phone-number") as answer:
            assert await answer.json() == []
        async with http.get("/org") as answer:
            assert await answer.json() == {"id": "o"}
        async with http.post("/_simulate/sender", json={"squads": []}) as answer:
            assert answer.status == 400


async def test_who_posts_is_told_to_the_key_alone(settings: SimulatorSettings) -> None:
    async with (
        SimulatedVapi(settings) as vapi,
        aiohttp.ClientSession(vapi.url) as http,
        http.get("/assistant") as answer,
    ):
        assert answer.status == 401
