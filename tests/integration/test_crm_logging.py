"""One engagement for each call, however often its events come and whatever HubSpot does, in a simulated HubSpot."""

import asyncio

import pytest

from consumers.conditions import Condition
from consumers.crm.rules import Crm
from consumers.outcomes import Hold, Reject, Retry
from tests.integration.hubspot import NUMBER, another, closed, office


async def test_a_call_is_logged_once_and_an_amendment_updates_it() -> None:
    async with office() as opened:
        first = await opened.log(analysis={})
        second = await opened.log(first.memo, version=2, analysis={"summary": "They agreed."})

        assert (first.verdict, second.verdict) == ("created", "updated")
        assert second.memo == first.memo
        assert len(opened.calls) == 1
        assert opened.calls[0]["properties"]["hs_call_body"].startswith("They agreed.")


async def test_without_a_memo_a_call_that_is_logged_already_is_found_by_its_key() -> None:
    async with office(search_lag_s=60) as opened:
        first = await opened.log()
        again = await opened.log()

        assert (again.verdict, again.memo) == ("updated", first.memo)
        assert [each["contacts"] for each in opened.calls] == [[first.match.id]]


async def test_two_processes_at_once_log_a_call_once() -> None:
    async with office(search_lag_s=60) as one, another(one.hubspot) as two:
        await asyncio.gather(*(each.log() for each in (one, two) * 5))

        assert len(one.calls) == 1


async def test_an_answer_that_is_lost_on_its_way_doubles_nothing() -> None:
    async with office(lost=0.4, search_lag_s=60) as opened:
        calls = [f"call-{number}" for number in range(20)]
        for call_id in calls:
            while True:
                try:
                    await opened.log(call_id=call_id)
                    break
                except (Hold, Retry):
                    await closed(opened)

        assert sorted(each["properties"]["aftercall_call_id"] for each in opened.calls) == sorted(calls)
        assert len(opened.contacts) == 1


async def test_an_engagement_that_was_deleted_in_hubspot_is_made_anew() -> None:
    async with office() as opened:
        first = await opened.log()
        opened.hubspot.portal.records["calls"].clear()

        again = await opened.log(first.memo)

        assert again.verdict == "created"
        assert opened.calls[0]["contacts"] == [first.match.id]


async def test_a_contact_that_an_amendment_tells_of_gets_the_call() -> None:
    async with office() as opened:
        first = await opened.log(number=None)
        again = await opened.log(first.memo)

        assert first.memo.endswith(" -")
        assert opened.calls[0]["contacts"] == [again.match.id]


async def test_a_call_that_a_rule_leaves_out_is_not_logged() -> None:
    rules = Crm(skip=(Condition(path="call.metadata.test", equals=True),))
    async with office(rules) as opened:
        assert (await opened.log(metadata={"test": True})).verdict == "skipped"
        assert (await opened.log(metadata={"test": False})).verdict == "created"
        assert (await opened.log("1 2", metadata={"test": True})).memo == "1 2"


async def test_a_value_that_hubspot_refuses_is_a_dead_letter_with_its_words_and_without_the_value() -> None:
    rules = Crm(call_properties={"hs_call_duration": "call.metadata.secret", "score": "=7"}, create_contacts=False)
    async with office(rules) as opened:
        with pytest.raises(Reject) as refused:
            await opened.log(metadata={"secret": "it was a long talk"})

        assert "HubSpot refuses it (400)" in refused.value.reason
        assert "<hs_call_duration> was not a valid number" in refused.value.reason
        assert "PROPERTY_DOESNT_EXIST" in refused.value.reason
        assert "long talk" not in refused.value.reason
        assert "correlation id" in refused.value.reason
        assert not opened.client.breaker.is_open


async def test_a_contacts_value_that_hubspot_refuses_is_a_dead_letter_though_the_call_is_logged() -> None:
    async with office(Crm(contact_properties={"nothing": "=x"})) as opened:
        await opened.add_contact(phone=NUMBER)

        with pytest.raises(Reject, match="nothing"):
            await opened.log()
        assert len(opened.calls) == 1


async def test_what_the_account_requires_of_a_contact_is_named_and_the_mapping_can_give_it() -> None:
    async with office() as opened:
        opened.hubspot.portal.required["contacts"] = ("company",)

        with pytest.raises(Reject, match=r"Some required properties were not set\.; company; correlation id"):
            await opened.log()
        logged = await opened.log(rules=Crm(contact_properties={"company": "=none"}))

        assert (logged.verdict, logged.match.by) == ("created", "created")


async def test_a_summary_of_half_a_megabyte_is_cut_to_what_hubspot_takes() -> None:
    async with office() as opened:
        await opened.log(analysis={"summary": "word " * 100_000})

        assert len(opened.calls[0]["properties"]["hs_call_body"]) == 65536


async def test_without_a_key_an_engagement_is_looked_for_by_the_calls_id() -> None:
    async with office(Crm(call_key="", contact_key="")) as opened:
        first = await opened.log()
        again = await opened.log()

        assert (again.verdict, again.engagement) == ("updated", first.engagement)
        assert "POST /crm/properties/calls" not in opened.requests
