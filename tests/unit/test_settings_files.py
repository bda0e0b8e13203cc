"""Values read from files of their own, and from aftercall.toml."""

import os
from pathlib import Path

import pytest

from tests.unit.loading import ACME, LEAK, NOWHERE, from_toml, loaded, problem, toml_problems
from worker.settings import Secret, load

# Files


def test_a_value_is_read_from_a_file_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    assert loaded(VAPI_API_KEY_FILE=str(tmp_path / "key")).vapi_api_key.reveal() == "from-file"


def test_any_key_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("8181\n")
    (tmp_path / "tiers").write_text("1,2\n")
    settings = loaded(WEBHOOK_PORT_FILE=str(tmp_path / "port"), RETRY_TIERS_S_FILE=str(tmp_path / "tiers"))
    assert (settings.webhook_port, settings.retry_tiers_s) == (8181, (1, 2))


def test_a_key_of_an_account_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("acme-key")
    (account,) = load({f"{ACME}VAPI_API_KEY_FILE": str(tmp_path / "key")}, NOWHERE).accounts
    assert account.vapi_api_key.reveal() == "acme-key"


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text("old")
    settings = loaded(WEBHOOK_SECRETS_FILE=str(path))
    assert settings.accounts[0].webhook_secrets.each() == ("old",)
    path.write_text("new, old")
    assert settings.accounts[0].webhook_secrets.each() == ("new", "old")


def test_a_file_that_was_replaced_through_a_link_is_read_again(tmp_path: Path) -> None:
    """Kubernetes changes a mounted secret by moving a link."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    os.utime(tmp_path / "two", ns=(1, 1))
    link = tmp_path / "secret"
    link.symlink_to("one")
    secret = Secret(path=str(link))
    assert secret.reveal() == "one"
    link.unlink()
    link.symlink_to("two")
    assert secret.reveal() == "two"


def test_while_a_file_cannot_be_read_its_last_value_holds(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("last")
    secret = Secret(path=str(path))
    path.unlink()
    assert secret.reveal() == "last"
    path.write_bytes(b"\xff\xfe")
    assert secret.reveal() == "last"
    path.write_text("next")
    assert secret.reveal() == "next"


def test_a_key_and_its_file_cannot_both_be_set(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x")
    told = problem(VAPI_API_KEY="y", VAPI_API_KEY_FILE=str(tmp_path / "key"))
    assert told == "AFTERCALL_VAPI_API_KEY_FILE and AFTERCALL_VAPI_API_KEY are both set: keep one"


def test_an_empty_key_beside_its_file_is_not_set(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x")
    assert loaded(VAPI_API_KEY="", VAPI_API_KEY_FILE=str(tmp_path / "key")).vapi_api_key.reveal() == "x"


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    told = problem(VAPI_API_KEY_FILE=str(tmp_path / "none"))
    assert told.startswith("AFTERCALL_VAPI_API_KEY_FILE: ")
    assert "cannot be read" in told


def test_a_wrong_value_in_a_file_is_a_problem_that_does_not_tell_it(tmp_path: Path) -> None:
    (tmp_path / "port").write_text(LEAK)
    told = problem(WEBHOOK_PORT_FILE=str(tmp_path / "port"))
    assert told.startswith("AFTERCALL_WEBHOOK_PORT: ")
    assert LEAK not in told


# aftercall.toml


def test_the_same_keys_stand_in_the_file(tmp_path: Path) -> None:
    text = 'AFTERCALL_WEBHOOK_PORT = 81\nAFTERCALL_RETRY_TIERS_S = [1, 2]\nAFTERCALL_SUBSCRIBERS = ["crm"]\n'
    text += 'AFTERCALL_WEBHOOK_HMAC_INCLUDE_TIMESTAMP = false\nAFTERCALL_VAPI_RATE = 2\nAFTERCALL_VAPI_API_KEY = "k"\n'
    settings = from_toml(tmp_path, text)
    assert (settings.webhook_port, settings.retry_tiers_s, settings.subscribers) == (81, (1, 2), ("crm",))
    assert (settings.webhook_hmac_include_timestamp, settings.vapi_rate) == (False, 2.0)
    assert settings.vapi_api_key.reveal() == "k"


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    settings = from_toml(tmp_path, "AFTERCALL_WEBHOOK_PORT = 81\nAFTERCALL_ADMIN_PORT = 91\n", WEBHOOK_PORT="82")
    assert (settings.webhook_port, settings.admin_port) == (82, 91)


def test_an_empty_variable_leaves_the_value_of_the_file(tmp_path: Path) -> None:
    assert from_toml(tmp_path, "AFTERCALL_WEBHOOK_PORT = 81\n", WEBHOOK_PORT="").webhook_port == 81


def test_a_file_named_in_the_environment_goes_before_a_value_in_the_file_and_the_other_way_round(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").write_text("mounted")
    mounted = str(tmp_path / "key")
    settings = from_toml(tmp_path, 'AFTERCALL_VAPI_API_KEY = "in toml"', VAPI_API_KEY_FILE=mounted)
    assert settings.vapi_api_key.reveal() == "mounted"
    settings = from_toml(tmp_path, f'AFTERCALL_VAPI_API_KEY_FILE = "{mounted}"', VAPI_API_KEY="in the environment")
    assert settings.vapi_api_key.reveal() == "in the environment"


def test_an_account_can_stand_in_the_file(tmp_path: Path) -> None:
    (account,) = from_toml(tmp_path, f'{ACME}VAPI_API_KEY = "k"').accounts
    assert (account.name, account.vapi_api_key.reveal()) == ("acme-dental", "k")


def test_an_unknown_key_in_the_file_is_an_error(tmp_path: Path) -> None:
    (told,) = toml_problems(tmp_path, "webhook_port = 81")
    assert "line 1: webhook_port: unknown key" in told
    (told,) = toml_problems(tmp_path, "AFTERCALL_WEBHOOK_PORTS = 81")
    assert told == "AFTERCALL_WEBHOOK_PORTS is not a setting: did you mean AFTERCALL_WEBHOOK_PORT?"


@pytest.mark.parametrize("text", ["= 3", "AFTERCALL_WEBHOOK_PORT = ", "[subscribers"])
def test_a_file_that_is_no_toml_is_a_problem(tmp_path: Path, text: str) -> None:
    (told,) = toml_problems(tmp_path, text)
    assert "aftercall.toml cannot be read" in told


def test_a_file_named_by_the_environment_is_read_and_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    assert "cannot be read" in problem(CONFIG=str(path))
    path.write_text("AFTERCALL_WEBHOOK_PORT = 83")
    assert loaded(CONFIG=str(path)).webhook_port == 83
