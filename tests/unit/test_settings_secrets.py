"""Secrets never print, and several stand with commas."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loading import ACME, LEAK, NOWHERE, loaded, problem
from worker.settings import Secret, SettingsError, load


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("AMQP_URL", f"amqp://user:{LEAK}@127.0.0.1:5672/"),
        ("VAPI_API_KEY", LEAK),
        ("WEBHOOK_SECRETS", LEAK),
        ("LEDGER_URL", f"postgresql://user:{LEAK}@127.0.0.1/calls"),
    ],
)
def test_a_secret_is_known_and_never_prints(key: str, value: str) -> None:
    settings = loaded(**{key: value})
    secret = getattr(settings, key.lower())
    assert secret.reveal() == value
    for text in (repr(settings), str(settings), repr(secret), str(secret), f"{secret}", f"{settings.accounts}"):
        assert LEAK not in text
        assert text


@pytest.mark.parametrize(
    "environ",
    [
        {"AFTERCALL_WEBHOOK_SECRETS": f"insecure,{LEAK}"},
        {
            "AFTERCALL_WEBHOOK_SECRETS": f"{LEAK}!",
            "AFTERCALL_WEBHOOK_AUTH": "hmac",
            "AFTERCALL_WEBHOOK_HMAC_SECRET_IS_BASE64": "1",
        },
        {"AFTERCALL_WEBHOOK_SECRET": LEAK},
        {"AFTERCALL_AMQP_URL": f"http://user:{LEAK}@127.0.0.1"},
        {"AFTERCALL_VAPI_API_KEY": LEAK, "AFTERCALL_VAPI_API_KEY_FILE": os.devnull},
        {"AFTERCALL_ACCOUNTS__default__VAPI_API_KEY": LEAK},
        {f"{ACME}WEBHOOK_SECRET": LEAK},
        {f"{ACME}WEBHOOK_SECRETS": f"insecure,{LEAK}"},
        {"AFTERCALL_VAPI_API_KEY": LEAK, "AFTERCALL_WEBHOOK_PORT": "x"},
    ],
)
def test_no_error_tells_a_secret(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ, NOWHERE)
    assert LEAK not in str(caught.value)
    assert LEAK not in repr(caught.value)


@given(st.text(min_size=1))
def test_a_secret_of_any_characters_prints_as_asterisks(text: str) -> None:
    assert repr(Secret(text)) == str(Secret(text)) == "Secret('********')"
    assert Secret(text).reveal() == text


def test_an_empty_secret_is_false_and_says_so() -> None:
    assert not Secret()
    assert repr(Secret()) == "Secret()"


def test_secrets_are_equal_by_value_and_cannot_stand_in_a_set() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    with pytest.raises(TypeError):
        hash(Secret("a"))


@pytest.mark.parametrize(
    ("text", "each"), [("a", ("a",)), ("a,b", ("a", "b")), (" a , ,b ", ("a", "b")), ("", ()), (",", ())]
)
def test_several_values_stand_with_commas(text: str, each: tuple[str, ...]) -> None:
    assert Secret(text).each() == each


@pytest.mark.parametrize(
    ("text", "is_fine"), [("insecure", True), ("a,b", True), ("insecure,a", False), ("a,insecure", False)]
)
def test_insecure_stands_alone(text: str, is_fine: bool) -> None:
    if is_fine:
        assert loaded(WEBHOOK_SECRETS=text).webhook_secrets.reveal() == text
    else:
        assert "`insecure` stands alone" in problem(WEBHOOK_SECRETS=text)


@pytest.mark.parametrize("secret", ["c2VjcmV0", "c2VjcmV0LTE", "whsec_c2VjcmV0", "----____", "c2Vj,cmV0"])
def test_base64_secrets_are_taken(secret: str) -> None:
    assert loaded(WEBHOOK_SECRETS=secret, WEBHOOK_AUTH="hmac", WEBHOOK_HMAC_SECRET_IS_BASE64="true")


@pytest.mark.parametrize("secret", ["not base64", "p@ssw0rd", "schlüssel", "whsec_", "A", "c2Vj,???"])
def test_a_secret_that_is_to_be_base64_and_is_not_is_a_problem(secret: str) -> None:
    told = problem(WEBHOOK_SECRETS=secret, WEBHOOK_AUTH="hmac", WEBHOOK_HMAC_SECRET_IS_BASE64="true")
    assert told == "AFTERCALL_WEBHOOK_SECRETS: a secret is not base64"
