"""Bearer tokens and X-Vapi-Secret, and no check at all."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.signing import SECRET, bears, check_of, headers_of, request
from worker.settings import Secret

# Bearer tokens and X-Vapi-Secret


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer a-secret"},
        {"Authorization": "bearer a-secret"},
        {"Authorization": "BEARER  a-secret "},
        {"X-Vapi-Secret": "a-secret"},
        {"X-Vapi-Secret": "a-secret", "Authorization": "Bearer wrong"},
        {"X-Vapi-Secret": "wrong", "Authorization": "Bearer a-secret"},
    ],
)
def test_a_bearer_token_or_the_secret_in_its_own_header_is_taken(headers: dict[str, str]) -> None:
    assert bears(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "a-secret"},
        {"Authorization": "Basic a-secret"},
        {"Authorization": "Bearer a-secre"},
        {"Authorization": "Bearer a-secret2"},
        {"Authorization": "Bearer A-SECRET"},
        {"Authorization": "Bearer a-secret b"},
        {"X-Vapi-Secret": ""},
        {"X-Vapi-Secret": "Bearer a-secret"},
        {"X-Vapi-Secret": "\udcff"},
        {"X-Vapi-Signature": "a-secret"},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    assert not bears(headers)


@pytest.mark.parametrize(
    ("token", "is_good"), [("old", True), ("new", True), ("old,new", False), (",", False), ("", False)]
)
def test_two_secrets_are_good_while_one_is_being_rotated(token: str, is_good: bool) -> None:
    assert bears({"Authorization": f"Bearer {token}"}, "old, new") is is_good


@pytest.mark.parametrize("secrets", ["", ",", " , "])
@pytest.mark.parametrize("auth", ["bearer", "hmac"])
def test_without_a_secret_nothing_passes(auth: str, secrets: str) -> None:
    headers = headers_of(key=b"") | {"Authorization": "Bearer ", "X-Vapi-Secret": ""}
    assert not check_of(auth, secrets)(request(headers))


def test_a_secret_beyond_ascii_is_compared_as_bytes() -> None:
    assert bears({"Authorization": "Bearer schlüssel"}, "schlüssel")
    assert not bears(
        {"Authorization": "Bearer schlüssel".encode("latin-1").decode("utf-8", "surrogateescape")}, "schlüssel"
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_token_but_the_secret_passes(token: str) -> None:
    assert bears({"Authorization": f"Bearer {token}"}) is (token.strip() == SECRET)


def test_a_secret_in_a_file_is_followed_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old\n")
    check = check_of("bearer", Secret(path=str(path)))
    assert check(request({"X-Vapi-Secret": "old"}))
    path.write_text("newer\n")
    assert check(request({"X-Vapi-Secret": "newer"}))
    assert not check(request({"X-Vapi-Secret": "old"}))


# No check at all


def test_insecure_alone_takes_anything() -> None:
    assert check_of("bearer", "insecure")(request({}))
    assert check_of("hmac", "insecure")(request({}))


@pytest.mark.parametrize("secrets", ["insecure,a-secret", "Insecure"])
def test_insecure_is_no_switch_unless_it_is_alone_and_exact(secrets: str) -> None:
    assert not check_of("bearer", secrets)(request({}))


def test_the_check_is_on_as_soon_as_a_secret_replaces_insecure(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("insecure")
    check = check_of("bearer", Secret(path=str(path)))
    assert check(request({}))
    path.write_text("a-secret now")
    assert not check(request({}))
    assert check(request({"X-Vapi-Secret": "a-secret now"}))
