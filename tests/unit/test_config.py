from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli.config import config, reference_table, rows_of
from worker.settings import SettingsError, load, without_passwords

ACME = "AFTERCALL_ACCOUNTS__ACME_DENTAL__"
README = Path(__file__).parents[2] / "README.md"


def shown(folder: Path, **environ: str) -> dict[str, Any]:
    return dict(rows_of(load(environ, folder)))


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ("amqp://user:s3cr%40t@host:5672/vhost", "amqp://user:***@host:5672/vhost"),
        ("amqp://u:p@one/,amqps://v:q@two/%2F?heartbeat=5", "amqp://u:***@one/,amqps://v:***@two/%2F?heartbeat=5"),
        ("amqp://host/", "amqp://host/"),
        ("amqp://user@host/", "amqp://user@host/"),
        ("sqlite:///.aftercall/ledger.db", "sqlite:///.aftercall/ledger.db"),
        (
            "postgresql://u@db/ledger?sslmode=require&password=hush",
            "postgresql://u@db/ledger?sslmode=require&password=***",
        ),
        ("host:15672", "********"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_password(given_: str, told: str) -> None:
    assert without_passwords(given_) == told


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1))
def test_whatever_a_password_holds_nothing_of_it_is_shown(password: str) -> None:
    assert without_passwords(f"amqp://user:{password}@host/v") == "amqp://user:***@host/v"


@pytest.mark.parametrize("key", ["AFTERCALL_AMQP_URL", "AFTERCALL_LEDGER_URL"])
@pytest.mark.parametrize("rest", ["user:hu/sh@host/", "user:hu#sh@host/", "user:hush", "[hush"])
def test_an_address_with_a_password_in_the_way_is_refused_without_telling_it(
    key: str, rest: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        load({key: f"amqp://{rest}"}, tmp_path)

    (problem,) = caught.value.problems
    assert problem.startswith(f"{key}: an address reads scheme://user:password@host:port/name; in a password")
    assert "hu" not in problem


def test_addresses_are_shown_and_secrets_are_not(tmp_path: Path) -> None:
    told = shown(
        tmp_path,
        AFTERCALL_AMQP_URL="amqp://user:hush@rabbit:5672/calls",
        AFTERCALL_LEDGER_URL="postgresql://ledger:hush@db/ledger",
        AFTERCALL_VAPI_BASE_URL="http://proxy:hush@localhost:1",
        AFTERCALL_VAPI_API_KEY="hush",
        AFTERCALL_WEBHOOK_SECRETS="https://hush",
    )

    assert told["AFTERCALL_AMQP_URL"] == "amqp://user:***@rabbit:5672/calls"
    assert told["AFTERCALL_LEDGER_URL"] == "postgresql://ledger:***@db/ledger"
    assert told["AFTERCALL_VAPI_BASE_URL"] == "http://proxy:***@localhost:1"
    assert told["AFTERCALL_AMQP_MANAGEMENT_URL"] == ""
    assert told["AFTERCALL_VAPI_API_KEY"] == told["AFTERCALL_WEBHOOK_SECRETS"] == "********"
    assert "hush" not in str(told)


def test_an_account_is_shown_under_the_keys_that_set_it_with_what_it_inherits(tmp_path: Path) -> None:
    told = shown(tmp_path, **{f"{ACME}VAPI_API_KEY": "k", f"{ACME}VAPI_RATE": "7", "AFTERCALL_WEBHOOK_AUTH": "bearer"})

    of_account = {key.removeprefix(ACME): value for key, value in told.items() if key.startswith(ACME)}
    assert (
        of_account.items()
        >= {
            "VAPI_API_KEY": "********",
            "VAPI_BASE_URL": "https://api.vapi.ai",
            "VAPI_RATE": 7.0,
            "WEBHOOK_SECRETS": "",
            "WEBHOOK_AUTH": "bearer",
        }.items()
    )
    assert not any(key.startswith("WEBHOOK_HMAC_") for key in of_account)


def test_how_an_account_signs_is_shown_where_it_matters(tmp_path: Path) -> None:
    told = shown(tmp_path, **{f"{ACME}WEBHOOK_AUTH": "hmac", f"{ACME}WEBHOOK_HMAC_ALGORITHM": "sha512"})

    assert told[f"{ACME}WEBHOOK_HMAC_ALGORITHM"] == "sha512"
    assert told[f"{ACME}WEBHOOK_HMAC_TOLERANCE_S"] == 86400


def test_subscribers_of_ones_own_are_shown_as_the_file_names_them(tmp_path: Path) -> None:
    (tmp_path / "aftercall.toml").write_text(
        '[subscribers.billing]\nbindings = ["call.enriched.#", "call.amended.#"]\n'
    )

    assert shown(tmp_path)["subscribers.billing.bindings"] == ("call.enriched.#", "call.amended.#")


def test_a_table_of_the_file_is_shown_by_its_dotted_keys(tmp_path: Path) -> None:
    (tmp_path / "aftercall.toml").write_text("[crm]\ncreate_contacts = false\n")

    assert shown(tmp_path)["crm.create_contacts"] is False


def test_without_accounts_and_subscribers_there_is_no_line_for_them(tmp_path: Path) -> None:
    assert not any("__" in key or key.startswith("subscribers") for key in shown(tmp_path))


def test_the_text_is_written_as_the_environment_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {f"{ACME}VAPI_API_KEY": "k", f"{ACME}WEBHOOK_AUTH": "hmac"})

    config()

    told = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines() if len(line.split()) > 1)
    assert told["AFTERCALL_RETRY_TIERS_S"] == "5,30,120,600,3600,21600"
    assert told["AFTERCALL_WEBHOOK_HMAC_INCLUDE_TIMESTAMP"] == told[f"{ACME}WEBHOOK_HMAC_INCLUDE_TIMESTAMP"] == "true"
    assert told["AFTERCALL_VAPI_RATE"] == "5"
    assert not {"[", "{", "'"} & set("".join(told.values()).replace("{timestamp}.{body}", ""))


def test_of_a_targets_address_only_the_host_is_shown_since_its_path_may_be_the_secret(tmp_path: Path) -> None:
    url = "https://hooks.example.com:8443/services/T0/hush?token=hush"
    (tmp_path / "aftercall.toml").write_text(
        f'[forward.zapier]\nurl = "{url}"\n[forward.bare]\nurl = "https://b.example"\n'
    )

    told = shown(tmp_path)

    assert told["forward.zapier.url"] == "https://hooks.example.com:8443/********"
    assert told["forward.bare.url"] == "https://b.example/"


def test_the_readme_has_every_setting_as_it_is() -> None:
    table = "\n".join(reference_table())

    assert f"<!-- aftercall config --reference -->\n{table}\n<!-- end -->" in README.read_text()
