"""Accounts: the default one, further ones, and what each has of its own."""

import pytest

from tests.unit.loading import ACME, NOWHERE, loaded, problems
from worker.settings import load


def test_the_plain_keys_make_the_account_default() -> None:
    (account,) = loaded(VAPI_API_KEY="k", WEBHOOK_SECRETS="s", VAPI_RATE="2").accounts
    assert (account.name, account.vapi_rate) == ("default", 2.0)
    assert (account.vapi_api_key.reveal(), account.webhook_secrets.reveal()) == ("k", "s")


def test_without_any_key_there_is_the_account_default_all_the_same() -> None:
    assert [account.name for account in loaded().accounts] == ["default"]


def test_a_further_account_has_its_own_key_and_secrets_and_the_rest_from_the_plain_keys() -> None:
    settings = load(
        {
            "AFTERCALL_VAPI_API_KEY": "default-key",
            "AFTERCALL_WEBHOOK_SECRETS": "default-secret",
            "AFTERCALL_VAPI_BASE_URL": "https://api.eu.vapi.ai",
            "AFTERCALL_WEBHOOK_HMAC_ALGORITHM": "sha512",
            f"{ACME}VAPI_API_KEY": "acme-key",
            f"{ACME}VAPI_RATE": "1",
            f"{ACME}WEBHOOK_AUTH": "hmac",
            f"{ACME}WEBHOOK_HMAC_SIGNATURE_HEADER": "x-hub-signature-256",
        },
        NOWHERE,
    )
    assert [account.name for account in settings.accounts] == ["default", "acme-dental"]
    acme = settings.account("acme-dental")
    assert acme is not None
    assert (acme.vapi_api_key.reveal(), acme.vapi_rate, acme.vapi_base_url) == ("acme-key", 1, "https://api.eu.vapi.ai")
    assert not acme.webhook_secrets
    assert (acme.webhook_auth, acme.hmac.algorithm, acme.hmac.signature_header) == (
        "hmac",
        "sha512",
        "x-hub-signature-256",
    )
    default = settings.account("default")
    assert default is not None
    assert (default.webhook_auth, default.hmac.signature_header) == ("bearer", "x-signature")


def test_with_further_accounts_only_there_is_no_default_account() -> None:
    settings = load({f"{ACME}VAPI_API_KEY": "k", "AFTERCALL_ACCOUNTS__B__VAPI_API_KEY": "k"}, NOWHERE)
    assert [account.name for account in settings.accounts] == ["acme-dental", "b"]
    assert settings.account("default") is None


@pytest.mark.parametrize("key", ["AFTERCALL_VAPI_API_KEY", "AFTERCALL_WEBHOOK_SECRETS"])
def test_a_plain_key_or_secret_makes_the_default_account_beside_further_ones(key: str) -> None:
    settings = load({f"{ACME}VAPI_API_KEY": "k", key: "x"}, NOWHERE)
    assert [account.name for account in settings.accounts] == ["default", "acme-dental"]


@pytest.mark.parametrize("name", ["DEFAULT", "A B", "A.B", "É", "X" * 41, ""])
def test_an_account_name_is_of_small_letters_digits_and_dashes_and_not_default(name: str) -> None:
    (told,) = problems({f"AFTERCALL_ACCOUNTS__{name}__VAPI_API_KEY": "k"})
    assert "an account's name is 1 to 40 of a-z, 0-9 and -" in told


@pytest.mark.parametrize("field", ["EMIT_AFTER_S", "COLOUR", "", "AMQP_URL"])
def test_an_account_has_no_other_fields_than_its_own(field: str) -> None:
    (told,) = problems({f"{ACME}{field}": "1"})
    assert "an account has VAPI_API_KEY" in told


def test_an_unknown_hmac_field_of_an_account_suggests_the_right_one() -> None:
    (told,) = problems({f"{ACME}WEBHOOK_HMAC_ALGORYTHM": "sha1"})
    assert told.startswith(f"{ACME}WEBHOOK_HMAC_ALGORYTHM is not a setting: did you mean")
    assert "WEBHOOK_HMAC_ALGORITHM?" in told


def test_a_wrong_value_of_an_account_is_named_by_its_own_key() -> None:
    (told,) = problems({f"{ACME}VAPI_RATE": "fast"})
    assert told.startswith(f"{ACME}VAPI_RATE: ")
