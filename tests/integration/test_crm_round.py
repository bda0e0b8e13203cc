"""What the doctor says of the CRM, having looked at a simulated HubSpot."""

from typing import Any

from msgspec.structs import replace

from consumers.crm.rules import Crm
from tests.integration.hubspot import TOKEN
from worker.cli.doctor.crm_round import crm_round
from worker.operate.doctor import Finding
from worker.settings import load
from worker.simulate.hubspot.properties import Property
from worker.simulate.hubspot.server import SimulatedHubSpot
from worker.simulate.hubspot.trouble import Trouble


async def findings(hubspot: SimulatedHubSpot, rules: Crm | None = None, **environ: str) -> list[Finding]:
    given = {"AFTERCALL_CRM_TOKEN": TOKEN, "AFTERCALL_CRM_BASE_URL": hubspot.url}
    return await crm_round(replace(load(given | environ), crm=rules or Crm()))


def made(hubspot: SimulatedHubSpot, kind: Any, name: str, **more: Any) -> None:
    hubspot.portal.properties[kind][name] = Property(name=name, label=name, group_name="x", **more)


async def test_all_is_well_where_the_token_is_taken_and_the_keys_are_there() -> None:
    async with SimulatedHubSpot() as hubspot:
        made(hubspot, "contacts", "aftercall_contact", has_unique_value=True)
        made(hubspot, "calls", "aftercall_call_id", has_unique_value=True)

        assert await findings(hubspot) == [Finding("crm default", "ok", "HubSpot takes the token")]


async def test_nothing_is_changed_and_what_the_first_call_will_make_is_told() -> None:
    async with SimulatedHubSpot() as hubspot:
        before = hubspot.tell()["properties"]

        told = await findings(hubspot)

        assert [each.status for each in told] == ["ok", "warn", "warn"]
        assert "the first call makes it, if the token has the scope crm.schemas.calls.write" in told[2].mend
        assert hubspot.tell()["properties"] == before


async def test_a_token_that_is_refused_or_may_not_write_fails() -> None:
    async with SimulatedHubSpot(Trouble(token="another")) as hubspot:
        (refused,) = await findings(hubspot)
    async with SimulatedHubSpot(Trouble(scopes=("crm.objects.contacts.read",))) as hubspot:
        (reading,) = await findings(hubspot)

    assert (refused.status, reading.status) == ("fail", "fail")
    assert "(401)" in refused.detail
    assert "crm.objects.contacts.write" in reading.detail


async def test_properties_that_a_mapping_names_and_hubspot_does_not_have_fail() -> None:
    rules = Crm(call_properties={"scroe": "facts.cost", "hs_call_body": ""}, external_id_property="customer_no")
    async with SimulatedHubSpot() as hubspot:
        told = await findings(hubspot, rules)

    assert told[-1].status == "fail"
    assert "calls.scroe, contacts.customer_no" in told[-1].detail


async def test_a_key_whose_values_are_not_unique_fails() -> None:
    async with SimulatedHubSpot() as hubspot:
        made(hubspot, "calls", "aftercall_call_id")

        assert [each.status for each in await findings(hubspot)] == ["ok", "warn", "fail"]


async def test_an_account_without_a_token_is_told_beside_one_that_has_one_and_silence_where_nobody_has() -> None:
    async with SimulatedHubSpot() as hubspot:
        told = await findings(hubspot, AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY="k")
        nobody = await crm_round(load({"AFTERCALL_VAPI_API_KEY": "k"}))

    assert told[-1].check == "crm acme"
    assert (told[-1].status, told[-1].mend) == ("warn", "set AFTERCALL_ACCOUNTS__ACME__CRM_TOKEN, if they are to be")
    assert nobody == []


async def test_a_hubspot_that_cannot_be_reached_fails() -> None:
    async with SimulatedHubSpot() as hubspot:
        (told,) = await findings(hubspot, AFTERCALL_CRM_BASE_URL="http://127.0.0.1:1")

    assert (told.status, "cannot be reached" in told.detail) == ("fail", True)
