"""Which files TLS uses, and what is said of them and of TLS that fails."""

import ssl
import subprocess
from pathlib import Path

import pytest
from aiormq.exceptions import AMQPConnectionError

from tests.certificates import Authority
from worker.broker.session import explain
from worker.clients.tls import TlsFileUnusable, context_of, followed_context
from worker.operate.words import in_words, why_no_tls
from worker.settings import SettingsError, load
from worker.settings.tls import NO_FILES, TlsFiles, tls_files_of


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def problems_of(**given: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load({f"AFTERCALL_{key}": value for key, value in given.items()}, Path("/nowhere"))
    return caught.value.problems


def test_an_address_names_its_files() -> None:
    assert tls_files_of("amqps://u:p@broker/%2F?cafile=/ca.pem&heartbeat=5") == TlsFiles(cafile="/ca.pem")
    assert tls_files_of("https://proxy?certfile=/us.pem&keyfile=/us.key") == TlsFiles("", "/us.pem", "/us.key")


@pytest.mark.parametrize("parameter", ["no_verify_ssl=1", "verify=verify_none", "cacertfile=/ca.pem", "capath=/ca"])
def test_no_parameter_switches_the_check_off_or_is_overlooked(parameter: str) -> None:
    name = parameter.partition("=")[0]
    known = "cafile, certfile, keyfile, heartbeat, timeout, name, auth, interleave, happy_eyeballs_delay"
    told = f"AFTERCALL_AMQP_URL: {name}: its parameters are {known}; a certificate is always checked"
    assert problems_of(AMQP_URL=f"amqps://u:p@broker/?{parameter}") == (told,)


@pytest.mark.parametrize(
    "key", ["VAPI_BASE_URL", "CRM_BASE_URL", "AMQP_MANAGEMENT_URL", "ACCOUNTS__ACME__VAPI_BASE_URL"]
)
def test_files_without_tls_are_a_problem_of_their_key(key: str) -> None:
    (told,) = problems_of(**{key: "http://proxy.example:8080?cafile=/ca.pem"})

    assert told == f"AFTERCALL_{key}: cafile: of use with TLS alone: write https://"


@pytest.mark.parametrize("key", ["VAPI_BASE_URL", "CRM_BASE_URL"])
def test_a_base_url_has_no_parameters_but_the_files(key: str) -> None:
    (told,) = problems_of(**{key: "https://proxy.example/?tenant=acme"})

    assert told.startswith(f"AFTERCALL_{key}: tenant: its parameters are cafile, certfile, keyfile; ")


def test_what_may_be_of_a_password_is_not_told_for_a_parameter() -> None:
    assert not any("hush" in told for told in problems_of(AMQP_URL="amqp://u:pass?hush=1&shh@127.0.0.1/"))


def test_a_key_without_its_certificate_is_a_problem() -> None:
    (told,) = problems_of(AMQP_URL="amqps://u:p@broker/?keyfile=/us.key")

    assert told == "AFTERCALL_AMQP_URL: keyfile is the key of a certfile, which is not named"


def test_the_root_of_the_api_is_told_without_the_files() -> None:
    settings = load({"AFTERCALL_VAPI_BASE_URL": "https://proxy.example/vapi/?cafile=/ca.pem"}, Path("/nowhere"))

    assert settings.accounts[0].vapi_root == "https://proxy.example/vapi"


def test_a_context_checks_certificate_and_host_name_whatever_files_there_are(authority: Authority) -> None:
    us = authority.sign("us")

    for files in (NO_FILES, TlsFiles(str(authority.cert), str(us.cert), str(us.key))):
        context = context_of(files)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_that_is_of_no_use_is_named_with_the_reason(authority: Authority, tmp_path: Path) -> None:
    us, other, closed, empty = (
        authority.sign("us"),
        authority.sign("other"),
        tmp_path / "closed.key",
        tmp_path / "empty",
    )
    subprocess.run(["openssl", "pkey", "-in", us.key, "-aes256", "-passout", "pass:x", "-out", closed], check=True)
    empty.touch()
    troubles = {
        TlsFiles("/nowhere.pem"): "/nowhere.pem cannot be read: No such file or directory",
        TlsFiles(str(tmp_path)): f"{tmp_path} cannot be read: Is a directory",
        TlsFiles(str(empty)): f"{empty} holds no certificate in PEM",
        TlsFiles("", str(us.cert), str(other.key)): f"{us.cert} and {other.key} are no certificate and its key in PEM",
        TlsFiles("", str(us.cert), str(closed)): f"{closed} has a passphrase: give it a key without one",
    }

    for files, told in troubles.items():
        with pytest.raises(TlsFileUnusable, match=told) as caught:
            context_of(files)
        assert told in explain(caught.value)
        assert told in in_words(caught.value)


def test_files_are_read_again_when_they_change_and_only_then(authority: Authority) -> None:
    files = TlsFiles(str(authority.cert), str(authority.sign("changing").cert), str(authority.sign("changing").key))
    first = followed_context(files)

    assert followed_context(files) is first
    authority.sign("changing")
    assert followed_context(files) is not first
    assert followed_context(NO_FILES) is True


@pytest.mark.parametrize(
    ("alert", "told"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "it asks for a client certificate"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "it asks for a client certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "it refuses our client certificate, of a CA that it does not trust"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "it refuses our client certificate, which has expired: renew it"),
        ("WRONG_VERSION_NUMBER", "it speaks no TLS there: check port and scheme"),
        ("TLSV1_ALERT_INTERNAL_ERROR", "TLS failed: "),
    ],
)
def test_what_the_other_side_says_of_us_is_told_with_what_to_do(alert: str, told: str) -> None:
    trouble = ssl.SSLError(1, f"[SSL: {alert}] {alert.lower().replace('_', ' ')} (_ssl.c:1006)")
    error = AMQPConnectionError("Server communication error")
    error.__cause__ = trouble
    trouble.__cause__ = error  # as aiormq's do, they can go in a circle

    assert why_no_tls(error).startswith(told)
    assert explain(error).startswith(f"TLS with the broker: {told}")


def test_what_is_no_trouble_of_tls_is_none() -> None:
    assert why_no_tls(ConnectionRefusedError(111, "Connection refused")) == ""
