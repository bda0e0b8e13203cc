"""What the client makes of HubSpot's refusals, limits and outages."""

import asyncio

import pytest

from consumers.crm.rules import Crm
from consumers.enrich import ApiUnavailable
from consumers.outcomes import Hold, Retry
from tests.integration.hubspot import TOKEN, closed, office
from worker.clients.hubspot.wire import Patience
from worker.simulate.hubspot.properties import Property
from worker.simulate.hubspot.trouble import SCOPES


async def test_a_wrong_token_opens_the_breaker_and_is_not_asked_with_again_until_it_is_mended() -> None:
    async with office(token="another") as opened:
        with pytest.raises(Hold, match=r"refuses the token of account default \(401\)"):
            await opened.log()
        asked = opened.requests
        with pytest.raises(Hold):
            await opened.log()
        assert opened.requests == asked

        opened.change(token=TOKEN)
        await closed(opened)

        assert (await opened.log()).verdict == "created"


@pytest.mark.parametrize("missing", ["crm.objects.contacts.read", "crm.objects.contacts.write"])
async def test_a_scope_that_is_missing_opens_the_breaker_and_is_named(missing: str) -> None:
    scopes = [scope for scope in SCOPES if scope != missing]
    async with office(scopes=tuple(scopes)) as opened:
        with pytest.raises(Hold, match=missing):
            await opened.log()
        assert opened.client.breaker.is_open

        with pytest.raises(ApiUnavailable, match=missing):
            await opened.client.probe()
        opened.change(scopes=SCOPES)
        await closed(opened)
        assert (await opened.log()).verdict == "created"


async def test_the_keys_are_made_once_with_unique_values() -> None:
    async with office() as opened:
        await opened.log()
        await opened.log(call_id="call-2")

        made = opened.hubspot.portal.properties["calls"]["aftercall_call_id"]
        assert (made.has_unique_value, made.group_name) == (True, "callinformation")
        assert opened.requests["POST /crm/properties/calls"] == 1


async def test_a_key_that_may_not_be_made_holds_the_calls_and_says_what_to_do() -> None:
    scopes = [scope for scope in SCOPES if "schemas" not in scope]
    async with office(scopes=tuple(scopes)) as opened:
        with pytest.raises(Hold, match=r"no property aftercall_contact of contacts: give the token the scope crm\.sch"):
            await opened.log()

        for kind, name in (("contacts", "aftercall_contact"), ("calls", "aftercall_call_id")):  # made by hand
            made = Property(name=name, label=name, group_name="x", has_unique_value=True)
            opened.hubspot.portal.properties[kind][name] = made  # type: ignore[index]
        await closed(opened)

        assert (await opened.log()).verdict == "created"


async def test_a_property_of_that_name_whose_values_are_not_unique_is_no_key() -> None:
    async with office(Crm(call_key="hs_call_external_id")) as opened:
        with pytest.raises(Hold, match="hs_call_external_id of calls are not unique: choose another call_key"):
            await opened.log()


async def test_a_key_that_was_deleted_in_hubspot_is_made_again_and_buries_no_call() -> None:
    async with office() as opened:
        await opened.log()
        del opened.hubspot.portal.properties["calls"]["aftercall_call_id"]

        with pytest.raises(Hold, match="PROPERTY_DOESNT_EXIST"):
            await opened.log(call_id="call-2")
        await closed(opened)

        assert (await opened.log(call_id="call-2")).verdict == "created"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 423, 477])
async def test_an_outage_holds_the_calls_and_opens_the_breaker(status: int) -> None:
    async with office() as opened:
        await opened.log()
        opened.change(status=status)

        with pytest.raises(Hold, match=f"HubSpot answers {status}"):
            await opened.log(call_id="call-2")
        assert opened.client.breaker.is_open

        opened.change(status=0)
        await closed(opened)
        assert (await opened.log(call_id="call-2")).verdict == "created"


async def test_a_passing_error_is_tried_again_at_once() -> None:
    async with office(server_error=0.2) as opened:
        logged = 0
        for number in range(20):
            try:
                await opened.log(call_id=f"call-{number}")
                logged += 1
            except (Hold, Retry):
                await closed(opened)

        assert logged >= 15
        assert len(opened.calls) >= logged


async def test_the_limit_of_searches_is_waited_out_within_the_try() -> None:
    async with office(searches_per_s=2, patience=Patience(backoff_s=0.05)) as opened:
        logged = await asyncio.gather(*(opened.log(call_id=f"call-{number}") for number in range(4)))

        assert {each.verdict for each in logged} == {"created"}
        assert opened.hubspot.tell()["limited"] > 0


async def test_a_days_limit_holds_the_calls_without_asking_for_each() -> None:
    async with office() as opened:
        await opened.log()
        opened.change(per_day=1)

        with pytest.raises(Hold, match="limit of requests a day is spent") as held:
            await opened.log(call_id="call-2")
        asked = opened.requests
        with pytest.raises(Hold, match="a day is spent"):
            await opened.log(call_id="call-3")

        assert held.value.after == 600
        assert opened.requests == asked
        assert not opened.client.breaker.is_open


async def test_what_is_no_hubspot_is_told_by_its_address() -> None:
    async with office(base_url="http://127.0.0.1:1") as opened:
        with pytest.raises(Hold, match="HubSpot cannot be reached"):
            await opened.log()

    async with office() as real, office(base_url=f"{real.hubspot.url}/elsewhere") as opened:
        with pytest.raises(Hold, match="answers 404, which it never does here: check AFTERCALL_CRM_BASE_URL"):
            await opened.log()


async def test_a_hubspot_that_never_answers_holds_the_call_in_time() -> None:
    async with office(acts_then_waits_s=30) as opened:
        with pytest.raises(Hold, match="does not answer in time"):
            await opened.log()


async def test_a_backlog_is_logged_in_turn_and_what_finds_no_turn_is_held() -> None:
    async with office(patience=Patience(enter_s=0.5)) as opened:
        await opened.log()
        opened.change(acts_then_waits_s=0.2)

        said = await asyncio.gather(
            *(opened.log(call_id=f"call-{number}") for number in range(40)), return_exceptions=True
        )

        held = [each for each in said if isinstance(each, Hold)]
        assert 0 < len(held) < 40
        assert all(each.reason == "our own rate limit leaves no turn within 0.5 s" for each in held)
        assert len(opened.calls) == 41 - len(held)
