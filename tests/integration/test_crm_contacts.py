"""Which contact a call is put to, and when one is made, in a simulated HubSpot."""

import asyncio

import pytest

from consumers.crm.rules import Crm
from consumers.outcomes import Reject
from tests.integration.hubspot import NUMBER, another, office


@pytest.mark.parametrize(
    "written", ["+14155550123", "(415) 555-0123", "415-555-0123", "+1 415.555.0123", "4155550123", "1 (415) 555 0123"]
)
@pytest.mark.parametrize("where", ["phone", "mobilephone"])
async def test_a_contact_is_found_however_its_number_is_written(written: str, where: str) -> None:
    async with office() as opened:
        await opened.add_contact(phone="+14155559999")
        wanted = await opened.add_contact(**{where: written})

        logged = await opened.log()

        assert (logged.match.id, logged.match.by) == (wanted, "phone")
        assert opened.calls[0]["contacts"] == [wanted]
        assert len(opened.contacts) == 2


async def test_a_caller_whose_number_came_without_its_country_is_of_the_country_that_was_called() -> None:
    async with office() as opened:
        wanted = await opened.add_contact(phone=NUMBER)

        assert (await opened.log(number="4155550123")).match.id == wanted


async def test_a_number_of_another_country_with_the_same_digits_is_somebody_else() -> None:
    async with office() as opened:
        await opened.add_contact(phone="+494155550123")

        assert (await opened.log()).match.by == "created"


async def test_the_external_id_goes_before_the_number_and_the_number_before_the_email() -> None:
    rules = Crm(external_id_property="company", create_contacts=False)
    async with office(rules) as opened:
        by_email = await opened.add_contact(email="ann@example.com")
        customer = {"externalId": "C-7", "email": "Ann@Example.com"}
        assert (await opened.log(customer=customer)).match.id == by_email

        by_number = await opened.add_contact(phone=NUMBER)
        assert (await opened.log(customer=customer)).match.id == by_number

        by_external_id = await opened.add_contact(company="c-7")
        assert (await opened.log(customer=customer)).match.id == by_external_id


async def test_a_caller_that_nobody_knows_becomes_a_contact_with_what_the_call_tells() -> None:
    rules = Crm(contact_properties={"company": "call.metadata.company"}, external_id_property="hs_object_id")
    async with office(rules) as opened:
        customer = {"name": "Ann B. Smith", "email": "ann@example.com"}

        logged = await opened.log(customer=customer, metadata={"company": "Acme"})

        told = opened.contacts[0]
        assert logged.match.by == "created"
        assert {name: told[name] for name in ("firstname", "lastname", "phone", "email", "company")} == {
            "firstname": "Ann",
            "lastname": "B. Smith",
            "phone": NUMBER,
            "email": "ann@example.com",
            "company": "Acme",
        }


async def test_a_caller_without_a_name_is_called_by_the_number() -> None:
    async with office() as opened:
        await opened.log()

        assert opened.contacts[0]["firstname"] == NUMBER


async def test_where_no_contacts_may_be_made_the_call_is_logged_without() -> None:
    async with office(Crm(create_contacts=False)) as opened:
        logged = await opened.log()

        assert (logged.verdict, logged.match.id) == ("created", "")
        assert opened.calls[0]["contacts"] == []
        assert opened.contacts == []


@pytest.mark.parametrize("number", [None, "anonymous", "sip:ann@example.com"])
async def test_a_call_without_a_customer_is_logged_without_a_contact_or_skipped(number: str | None) -> None:
    async with office() as opened:
        assert (await opened.log(number=number)).verdict == "created"
        assert opened.contacts == []

    async with office(Crm(without_contact="skip")) as opened:
        assert (await opened.log(number=number)).verdict == "skipped"
        assert opened.calls == []


async def test_of_two_contacts_the_first_made_gets_the_call_unless_the_rules_say_otherwise() -> None:
    async with office() as opened:
        first = await opened.add_contact(phone=NUMBER)
        second = await opened.add_contact(mobilephone="(415) 555-0123")
        opened.hubspot.portal.update("contacts", first, {"company": "Acme"})
        opened.hubspot.portal.update("contacts", second, {"company": "Acme"})

        oldest = (await opened.log()).match
        recent = (await opened.log(call_id="call-2", rules=Crm(on_two_matches="recent"))).match

        assert (oldest.id, oldest.among) == (first, 2)
        assert recent.id == second


async def test_two_contacts_can_be_made_a_dead_letter_that_names_them() -> None:
    async with office(Crm(on_two_matches="reject")) as opened:
        ids = [await opened.add_contact(phone=NUMBER) for _ in range(2)]

        with pytest.raises(Reject, match=rf"2 contacts in HubSpot have the caller's phone: {ids[0]}, {ids[1]}"):
            await opened.log()
        assert opened.calls == []


async def test_two_processes_make_one_contact_for_a_new_caller_though_the_search_is_slow() -> None:
    async with office(search_lag_s=60) as one, another(one.hubspot) as two:
        logged = await asyncio.gather(
            *(each.log(call_id=f"call-{number}") for number in range(5) for each in (one, two))
        )

        assert len(one.contacts) == 1
        assert len({each.match.id for each in logged}) == 1
        assert [each["contacts"] for each in one.calls] == [[logged[0].match.id]] * 5


async def test_an_email_that_the_search_does_not_show_yet_is_hubspots_own_conflict() -> None:
    async with office(Crm(contact_key=""), search_lag_s=60) as opened:
        there = await opened.add_contact(email="ann@example.com")

        logged = await opened.log(customer={"email": "ann@example.com"})

        assert (logged.match.id, logged.match.by) == (there, "conflict")


async def test_a_contact_that_has_another_number_by_now_does_not_get_the_calls_of_its_old_one() -> None:
    async with office() as opened:
        former = (await opened.log()).match.id
        opened.hubspot.portal.update("contacts", former, {"phone": "+14155559999"})

        logged = await opened.log(call_id="call-2")

        assert logged.match.id != former
        assert logged.match.by == "created"
        assert [each.get("aftercall_contact") for each in opened.contacts] == [NUMBER, None]


async def test_what_is_mapped_is_written_to_a_contact_that_was_there_and_nothing_else() -> None:
    rules = Crm(contact_properties={"company": "call.metadata.company"})
    async with office(rules) as opened:
        await opened.add_contact(phone=NUMBER, firstname="Ann")

        await opened.log(customer={"name": "Somebody Else"}, metadata={"company": "Acme"})

        assert (opened.contacts[0]["company"], opened.contacts[0]["firstname"]) == ("Acme", "Ann")

    async with office(Crm(contact_properties={"company": "=Acme"}, update_contacts=False)) as opened:
        await opened.add_contact(phone=NUMBER)
        await opened.log()
        assert "company" not in opened.contacts[0]
