"""Values as they stand in the environment, and problems with them, told all at once."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.redaction import redactor
from tests.unit.loading import ACME, LEAK, NOWHERE, loaded, problem, problems
from worker.settings import Settings, load
from worker.settings.fields import SECTIONS

# Values


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ("vapi_base_url", "https://api.vapi.ai"),
        ("vapi_rate", 5),
        ("webhook_auth", "bearer"),
        ("webhook_host", "0.0.0.0"),
        ("webhook_port", 8080),
        ("webhook_max_body_bytes", 33554432),
        ("admin_host", "127.0.0.1"),
        ("admin_port", 9090),
        ("spool_dir", ".aftercall/spool"),
        ("spool_max_bytes", 2**30),
        ("subscribers", ("ledger", "postcall", "crm", "alerts")),
        ("emit_after_s", 900),
        ("sweep_every_s", 300),
        ("sweep_grace_s", 120),
        ("prefetch", 32),
        ("retry_tiers_s", (5, 30, 120, 600, 3600, 21600)),
        ("give_up_after_s", 90000),
        ("grace_s", 25),
        ("topology", "apply"),
        ("redact", ("defaults",)),
        ("webhook_hmac_tolerance_s", 86400),
    ],
)
def test_the_defaults_are_those_of_the_contract(field: str, default: Any) -> None:
    assert getattr(loaded(), field) == default


def test_the_default_addresses_are_those_of_the_contract() -> None:
    assert loaded().amqp_url.reveal() == "amqp://guest:guest@127.0.0.1:5672/"
    assert loaded().ledger_url.reveal() == "sqlite:///.aftercall/ledger.db"
    assert not loaded().webhook_secrets
    assert not loaded().vapi_api_key


@pytest.mark.parametrize(
    ("key", "text", "field", "value"),
    [
        ("VAPI_RATE", "2.5", "vapi_rate", 2.5),
        ("VAPI_RATE", "3", "vapi_rate", 3.0),
        ("WEBHOOK_PORT", "80", "webhook_port", 80),
        ("ADMIN_PORT", "0", "admin_port", 0),
        ("RETRY_TIERS_S", "1, 2,90", "retry_tiers_s", (1, 2, 90)),
        ("SUBSCRIBERS", "ledger", "subscribers", ("ledger",)),
        ("SUBSCRIBERS", ",", "subscribers", ()),
        ("REDACT", "defaults,prompts,customer.number", "redact", ("defaults", "prompts", "customer.number")),
        ("WEBHOOK_HMAC_INCLUDE_TIMESTAMP", "false", "webhook_hmac_include_timestamp", False),
        ("WEBHOOK_HMAC_SECRET_IS_BASE64", "true", "webhook_hmac_secret_is_base64", True),
        ("WEBHOOK_HMAC_SECRET_IS_BASE64", "1", "webhook_hmac_secret_is_base64", True),
        ("TOPOLOGY", "check", "topology", "check"),
        ("EMIT_AFTER_S", "99999", "emit_after_s", 99999),
    ],
)
def test_a_text_is_read_as_its_type(key: str, text: str, field: str, value: Any) -> None:
    assert getattr(loaded(**{key: text}), field) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("VAPI_RATE", "0"),
        ("VAPI_RATE", "-1"),
        ("VAPI_RATE", "nan"),
        ("VAPI_RATE", "fast"),
        ("VAPI_BASE_URL", "api.vapi.ai"),
        ("WEBHOOK_PORT", "65536"),
        ("WEBHOOK_PORT", "-1"),
        ("WEBHOOK_PORT", "80.5"),
        ("WEBHOOK_AUTH", "basic"),
        ("WEBHOOK_HMAC_ALGORITHM", "md5"),
        ("WEBHOOK_HMAC_SIGNATURE_ENCODING", "base32"),
        ("WEBHOOK_HMAC_INCLUDE_TIMESTAMP", "maybe"),
        ("WEBHOOK_MAX_BODY_BYTES", "0"),
        ("PREFETCH", "0"),
        ("PREFETCH", "100000"),
        ("RETRY_TIERS_S", ","),
        ("RETRY_TIERS_S", "5,x"),
        ("RETRY_TIERS_S", "0,5"),
        ("RETRY_TIERS_S", "30,5"),
        ("RETRY_TIERS_S", "5,5"),
        ("EMIT_AFTER_S", "0"),
        ("TOPOLOGY", "delete"),
        ("SUBSCRIBERS", "ledger,billing"),
        ("AMQP_URL", "http://127.0.0.1"),
        ("AMQP_URL", "amqp://a/, b"),
        ("AMQP_URL", ","),
        ("LEDGER_URL", "mysql://calls@127.0.0.1/ledger"),
        ("ARCHIVE_URL", "calls.db"),
        ("REDACT", "defaults,artifact..transcript"),
        ("REDACT", "call.artifact.transcript"),
    ],
)
def test_a_value_that_makes_no_sense_is_a_problem_that_names_its_key(key: str, text: str) -> None:
    assert problem(**{key: text}).startswith(f"AFTERCALL_{key}: ")


def test_giving_up_before_emitting_is_legal() -> None:
    assert loaded(GIVE_UP_AFTER_S="60", EMIT_AFTER_S="900").give_up_after_s == 60


@pytest.mark.parametrize(
    "key", ["VAPI_RATE", "WEBHOOK_SECRETS", "WEBHOOK_PORT", "WEBHOOK_AUTH", "NO_SUCH_KEY", "CONFIG"]
)
def test_an_empty_variable_is_as_if_not_set(key: str) -> None:
    assert loaded(**{key: ""}) == loaded()


def test_variables_of_others_are_none_of_our_business() -> None:
    assert load({"PATH": "/bin", "AFTERCALLS": "x", "VAPI_API_KEY": "y"}, NOWHERE) == loaded()


# Problems


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "aftercall.toml").write_text('colour = "red"\n[subscribers.crm]\nbindings = ["call.#"]\n')
    found = problems(
        {
            "AFTERCALL_WEBHOOK_PORT": "x",
            "AFTERCALL_VAPI_RAT": "1",
            "AFTERCALL_RETRY_TIERS_S": "9,8",
            "AFTERCALL_VAPI_API_KEY_FILE": str(tmp_path / "none"),
            f"{ACME}VAPI_RATE": "0",
            "AFTERCALL_ACCOUNTS__X__COLOUR": "red",
            "AFTERCALL_WEBHOOK_SECRETS": "insecure,other",
        },
        tmp_path,
    )
    named = (
        "colour",
        "crm",
        "WEBHOOK_PORT",
        "VAPI_RAT ",
        "RETRY_TIERS_S",
        "VAPI_API_KEY_FILE",
        ACME,
        "X__COLOUR",
        "`insecure`",
    )
    assert [name for name in named if not any(name in one for one in found)] == []
    assert len(found) == len(named)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("AFTERCALL_WEBHOOK_SECRET", "AFTERCALL_WEBHOOK_SECRETS"),
        ("AFTERCALL_AMQP_URLS", "AFTERCALL_AMQP_URL"),
        ("AFTERCALL_VAPI_KEY", "AFTERCALL_VAPI_API_KEY"),
        ("AFTERCALL_EMIT_AFTER", "AFTERCALL_EMIT_AFTER_S"),
    ],
)
def test_an_unknown_key_is_an_error_that_suggests_the_right_one(key: str, meant: str) -> None:
    assert problems({key: LEAK}) == (f"{key} is not a setting: did you mean {meant}?",)


def test_an_unknown_key_like_no_other_says_where_they_are_listed() -> None:
    assert problems({"AFTERCALL_QQQQ": "1"}) == ("AFTERCALL_QQQQ is not a setting: `aftercall config` lists them",)


# Kubernetes


@pytest.mark.parametrize(
    "key",
    [
        *("AFTERCALL_SERVICE_HOST", "AFTERCALL_SERVICE_PORT", "AFTERCALL_SERVICE_PORT_HTTP", "AFTERCALL_PORT_8080_TCP"),
        *("AFTERCALL_WEBHOOK_SERVICE_HOST", "AFTERCALL_WEBHOOK_SERVICE_PORT", "AFTERCALL_WEBHOOK_PORT_8080_TCP_ADDR"),
        "AFTERCALL_ADMIN_PORT_9090_TCP_PROTO",
    ],
)
def test_what_kubernetes_injects_for_a_service_is_no_unknown_key(key: str) -> None:
    assert load({key: "tcp://10.0.0.1:8080"}, NOWHERE) == loaded()


@pytest.mark.parametrize("key", ["WEBHOOK_PORT", "ADMIN_PORT", "PORT", "LEDGER_PORT"])
def test_a_port_that_is_the_address_of_a_service_is_explained(key: str) -> None:
    told = problem(**{key: "tcp://10.0.0.1:8080"})
    assert told.startswith(f"AFTERCALL_{key}")
    assert "enableServiceLinks: false" in told


def test_every_setting_is_described() -> None:
    tables = ("accounts", "bindings", "given", *SECTIONS)
    plain = [field for field in msgspec.structs.fields(Settings) if field.name not in tables]
    described = [field for field in plain if getattr(field.type, "__metadata__", None)]
    assert [field.name for field in plain if field not in described] == []


def test_a_path_of_redaction_that_begins_with_the_call_is_told_how_it_is_to_begin() -> None:
    told = problem(REDACT="call.artifact.transcript")
    assert "paths begin within the call: artifact.transcript (a key `call` in it is *.call.artifact.transcript)" in told


def test_a_key_named_call_within_the_call_is_redacted_too() -> None:
    call = {"analysis": {"structuredData": {"call": {"phone": "+1"}}}}
    assert loaded(REDACT="*.call.phone").redact == ("*.call.phone",)
    assert redactor(["*.call.phone"])(call) == ["analysis.structuredData.call.phone"]
