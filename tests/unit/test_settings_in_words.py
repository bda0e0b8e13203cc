from pathlib import Path

import pytest

from worker.settings import SettingsError, load, require
from worker.settings.expected import expected
from worker.settings.values import FIELDS


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("PREFETCH", "0", "'0' is not a whole number from 1 to 2000"),
        ("WEBHOOK_PORT", "http", "'http' is not a whole number from 0 to 65535"),
        ("GRACE_S", "-1", "'-1' is not a whole number above 0"),
        ("VAPI_RATE", "fast", "'fast' is not a number above 0"),
        ("WEBHOOK_AUTH", "basic", "'basic' is not one of bearer, hmac"),
        ("WEBHOOK_HMAC_INCLUDE_TIMESTAMP", "maybe", "'maybe' is not true or false"),
        ("VAPI_BASE_URL", "vapi", "'vapi' is not an address that begins with http:// or https://"),
        (
            "RETRY_TIERS_S",
            "5,x",
            "'5,x' is not a comma-separated list, each a whole number above 0",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_told_what_would(key: str, value: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load({f"AFTERCALL_{key}": value}, tmp_path)

    assert caught.value.problems == (f"AFTERCALL_{key}: {told}",)


def test_a_file_that_holds_no_such_value_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "prefetch").write_text("hush")

    with pytest.raises(SettingsError) as caught:
        load({"AFTERCALL_PREFETCH_FILE": str(tmp_path / "prefetch")}, tmp_path)

    assert caught.value.problems == ("AFTERCALL_PREFETCH: what its file holds is not a whole number from 1 to 2000",)


def test_a_folder_in_the_place_of_a_file_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"AFTERCALL_AMQP_URL_FILE: {tmp_path} cannot be read: Is a directory"):
        load({"AFTERCALL_AMQP_URL_FILE": str(tmp_path)}, tmp_path)


def test_an_empty_file_is_told_apart_from_a_value_that_is_not_set(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    of_key = f"AFTERCALL_VAPI_API_KEY is not set: {empty} is empty: it is the private key of your account"

    with pytest.raises(SettingsError, match=of_key):
        require(load({"AFTERCALL_VAPI_API_KEY_FILE": str(empty)}, tmp_path), vapi=True)
    with pytest.raises(SettingsError, match=f"AFTERCALL_AMQP_URL is not set: {empty} is empty"):
        load({"AFTERCALL_AMQP_URL_FILE": str(empty)}, tmp_path)


def test_a_file_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"AFTERCALL_VAPI_API_KEY_FILE": "/nowhere/at/all", "AFTERCALL_CONFIG": "/nowhere.toml"}, tmp_path)

    assert set(caught.value.problems) == {
        "AFTERCALL_VAPI_API_KEY_FILE: /nowhere/at/all cannot be read: No such file or directory",
        "/nowhere.toml cannot be read: No such file or directory",
    }


@pytest.mark.parametrize("key", FIELDS)
def test_every_setting_can_say_what_it_is_to_be(key: str) -> None:
    assert expected(FIELDS[key].type)
