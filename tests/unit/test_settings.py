import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.settings import Secret, Settings, SettingsError, load, require
from worker.settings.fields import SECTIONS

NOWHERE = Path("there-is-no-such-folder")
LEAK = "s3cr3t-that-never-prints"
ACME = "AFTERCALL_ACCOUNTS__ACME_DENTAL__"


def loaded(folder: Path = NOWHERE, /, **environ: str) -> Settings:
    return load({f"AFTERCALL_{key}": value for key, value in environ.items()}, folder)


def problems(environ: dict[str, str], folder: Path = NOWHERE) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(environ, folder)
    return caught.value.problems


def problem(folder: Path = NOWHERE, /, **environ: str) -> str:
    (one,) = problems({f"AFTERCALL_{key}": value for key, value in environ.items()}, folder)
    return one


def from_toml(tmp_path: Path, text: str, **environ: str) -> Settings:
    (tmp_path / "aftercall.toml").write_text(text, encoding="utf-8")
    return loaded(tmp_path, **environ)


def toml_problems(tmp_path: Path, text: str) -> tuple[str, ...]:
    (tmp_path / "aftercall.toml").write_text(text, encoding="utf-8")
    return problems({}, tmp_path)


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


# Secrets


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


# Subscribers of one's own


def test_a_subscriber_has_its_bindings(tmp_path: Path) -> None:
    text = """
        [subscribers.billing]
        bindings = ["call.enriched.#", "call.amended.acme-dental.completed.*"]
        [subscribers.x-1]
        bindings = ["*.enriched.*.failed.#"]
    """
    assert from_toml(tmp_path, text).bindings == {
        "billing": ("call.enriched.#", "call.amended.acme-dental.completed.*"),
        "x-1": ("*.enriched.*.failed.#",),
    }


@pytest.mark.parametrize(
    "pattern", ["#", "call.#", "call.ended.default", "call.*.acme", "*.*.acme", "*.#", "#.ended.#"]
)
def test_no_subscriber_takes_what_is_the_enrichers_alone(tmp_path: Path, pattern: str) -> None:
    (told,) = toml_problems(tmp_path, f'[subscribers.billing]\nbindings = ["call.enriched.#", "{pattern}"]')
    assert told == f"[subscribers.billing]: {pattern} takes call.ended too, which is the enricher's alone"


@pytest.mark.parametrize(
    "text",
    [
        '[subscribers.crm]\nbindings = ["call.enriched.#"]',
        '[subscribers.enrich]\nbindings = ["call.enriched.#"]',
        '[subscribers.retry]\nbindings = ["call.enriched.#"]',
        '[subscribers.dead]\nbindings = ["call.enriched.#"]',
        '[subscribers.Billing]\nbindings = ["call.enriched.#"]',
        '[subscribers."a.b"]\nbindings = ["call.enriched.#"]',
        f'[subscribers.{"x" * 41}]\nbindings = ["call.enriched.#"]',
        "[subscribers.billing]\nbindings = []",
        '[subscribers.billing]\nbindings = "call.#"',
        "[subscribers.billing]\nbindings = [3]",
        '[subscribers.billing]\nbindings = [""]',
        '[subscribers.billing]\nbindings = ["call..x"]',
        '[subscribers.billing]\nbindings = ["order.#"]',
        '[subscribers.billing]\nbinding = ["#"]',
        '[subscribers]\nbilling = ["#"]',
        'subscribers = ["billing"]',
    ],
)
def test_a_subscriber_that_makes_no_sense_is_one_problem(tmp_path: Path, text: str) -> None:
    (told,) = toml_problems(tmp_path, text)
    assert "subscribers" in told


def test_a_subscriber_without_bindings_gets_every_call(tmp_path: Path) -> None:
    (tmp_path / "aftercall.toml").write_text("[subscribers.billing]\n")
    assert load({}, tmp_path).bindings == {"billing": ("call.enriched.#", "call.amended.#")}


# Accounts


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


# What a role needs


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


def test_every_setting_is_described() -> None:
    tables = ("accounts", "bindings", "given", *SECTIONS)
    plain = [field for field in msgspec.structs.fields(Settings) if field.name not in tables]
    described = [field for field in plain if getattr(field.type, "__metadata__", None)]
    assert [field.name for field in plain if field not in described] == []
