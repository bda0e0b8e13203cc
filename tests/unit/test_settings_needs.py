"""What a role needs, and that it asks for all of it at once."""

import pytest

from tests.unit.loading import ACME, NOWHERE, loaded
from worker.settings import SettingsError, load, require


@pytest.mark.parametrize(
    ("needs", "named"),
    [
        ({"webhook": True}, ["AFTERCALL_WEBHOOK_SECRETS"]),
        ({"vapi": True}, ["AFTERCALL_VAPI_API_KEY"]),
        ({"webhook": True, "vapi": True}, ["AFTERCALL_WEBHOOK_SECRETS", "AFTERCALL_VAPI_API_KEY"]),
        ({}, []),
    ],
)
def test_a_role_asks_for_what_it_needs_and_all_at_once(needs: dict[str, bool], named: list[str]) -> None:
    if not named:
        require(loaded(), **needs)
        return
    with pytest.raises(SettingsError) as caught:
        require(loaded(), **needs)
    assert [one.partition(" ")[0] for one in caught.value.problems] == named


@pytest.mark.parametrize("secrets", ["insecure", "a", "a,b"])
def test_the_endpoint_starts_with_a_secret_or_with_the_word_insecure(secrets: str) -> None:
    require(loaded(WEBHOOK_SECRETS=secrets), webhook=True)


def test_every_account_is_asked_for_its_own() -> None:
    settings = load(
        {f"{ACME}VAPI_API_KEY": "k", "AFTERCALL_VAPI_API_KEY": "k", "AFTERCALL_WEBHOOK_SECRETS": "s"}, NOWHERE
    )
    require(settings, vapi=True)
    with pytest.raises(SettingsError) as caught:
        require(settings, webhook=True)
    (told,) = caught.value.problems
    assert told.startswith(f"{ACME}WEBHOOK_SECRETS is not set")


def test_an_account_is_insecure_by_that_one_word_alone() -> None:
    for secrets, is_insecure in (("insecure", True), ("a", False), ("", False)):
        (account,) = loaded(WEBHOOK_SECRETS=secrets).accounts
        assert account.is_insecure is is_insecure
