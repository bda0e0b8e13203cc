"""What an account's plan settles: how old a signature may be, and a secret in base64."""

import base64

import pytest

from tests.unit.signing import BODY, KEY, NOW, check_of, headers_of, request, signed

# Time


@pytest.mark.parametrize(
    ("at", "is_good"),
    [
        (f"{NOW:.0f}", True),
        (f"{NOW * 1000:.0f}", True),
        (f"{NOW - 86400:.0f}", True),
        (f"{(NOW - 86400) * 1000:.0f}", True),
        (f"{NOW - 86401:.0f}", False),
        (f"{(NOW - 86401) * 1000:.0f}", False),
        (f"{NOW + 86400:.0f}", True),
        (f"{NOW + 86401:.0f}", False),
        ("0", False),
        ("-1", False),
        ("nan", False),
        ("inf", False),
        ("1e400", False),
        ("2026-08-31T17:06:00Z", False),
        ("", False),
        ("ü", False),
    ],
)
def test_a_signed_time_is_seconds_or_milliseconds_and_within_a_day(at: str, is_good: bool) -> None:
    assert check_of()(request(headers_of(at=at))) is is_good


@pytest.mark.parametrize(("age_s", "is_good"), [(299, True), (300, True), (301, False), (-301, False)])
def test_the_tolerance_is_a_setting(age_s: int, is_good: bool) -> None:
    assert check_of(tolerance_s=300)(request(headers_of(at=f"{NOW - age_s:.0f}"))) is is_good


def test_without_a_timestamp_in_the_plan_none_is_asked_for_and_the_body_alone_is_signed() -> None:
    headers = {"x-signature": signed(BODY).hex()}
    assert check_of(include_timestamp=False)(request(headers))
    assert not check_of()(request(headers))


# Secrets in base64


@pytest.mark.parametrize(
    "secret",
    [
        base64.b64encode(KEY).decode(),
        base64.b64encode(KEY).decode().rstrip("="),
        "whsec_" + base64.b64encode(KEY).decode(),
    ],
)
def test_a_base64_secret_may_have_a_prefix_and_no_padding(secret: str) -> None:
    assert check_of(secrets=secret, secret_is_base64=True)(request(headers_of(key=KEY)))


def test_a_base64_secret_may_be_in_either_alphabet() -> None:
    key = b"\xfb\xef\xbe\xff\xff\xff"
    assert base64.b64encode(key) == b"++++////"
    for secret in ("++++////", "----____"):
        assert check_of(secrets=secret, secret_is_base64=True)(request(headers_of(key=key)))


@pytest.mark.parametrize("bad", ["not base64!", "é", "whsec_", "A"])
def test_a_secret_that_became_no_key_fails_nothing_and_passes_nothing(bad: str) -> None:
    good = base64.b64encode(KEY).decode()
    check = check_of(secrets=f"{bad},{good}", secret_is_base64=True)
    assert check(request(headers_of(key=KEY)))
    assert not check(request(headers_of(key=b"")))
    assert not check_of(secrets=bad, secret_is_base64=True)(request(headers_of(key=b"")))
