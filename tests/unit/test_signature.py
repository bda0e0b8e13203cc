import base64
import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import sample
from worker.ingress.signature import Check, Request, checker, signer
from worker.settings import Account, HmacPlan, Secret

NOW = 1_788_195_960.0
BODY = '{"message":{"type":"end-of-call-report","note":"naïve"}}'.encode() + b"\xff"
URL = "https://hooks.example.com/webhooks/vapi?x=1"
SECRET = "a-secret"
KEY = bytes(range(32))
VECTORS = sample("hmac-vectors")
FIELDS = {
    "algorithm": "algorithm",
    "signatureHeader": "signature_header",
    "signaturePrefix": "signature_prefix",
    "includeTimestamp": "include_timestamp",
    "payloadFormat": "payload_format",
}


def account(auth: Any = "hmac", secrets: str | Secret = SECRET, **plan: Any) -> Account:
    return Account(
        name="default",
        vapi_api_key=Secret("key"),
        vapi_base_url="https://api.vapi.ai",
        vapi_rate=5,
        webhook_secrets=secrets if isinstance(secrets, Secret) else Secret(secrets),
        webhook_auth=auth,
        hmac=HmacPlan(**plan),
    )


def check_of(auth: Any = "hmac", secrets: str | Secret = SECRET, now: float = NOW, **plan: Any) -> Check:
    return checker(account(auth, secrets, **plan), clock=lambda: now)


def request(
    headers: Mapping[str, str], body: bytes = BODY, method: str = "POST", urls: tuple[str, ...] = (URL,)
) -> Request:
    return Request(method, urls, headers, body)


def bears(headers: dict[str, str], secrets: str = SECRET) -> bool:
    return check_of("bearer", secrets)(request(headers))


def signed(payload: bytes, key: bytes = SECRET.encode(), algorithm: str = "sha256") -> bytes:
    """HMAC by its definition (RFC 2104), not by the library that the code under test uses."""

    def digest(data: bytes) -> bytes:
        return hashlib.new(algorithm, data).digest()

    size = hashlib.new(algorithm).block_size
    padded = (key if len(key) <= size else digest(key)).ljust(size, b"\0")
    inner = digest(bytes(byte ^ 0x36 for byte in padded) + payload)
    return digest(bytes(byte ^ 0x5C for byte in padded) + inner)


def headers_of(body: bytes = BODY, at: str = f"{NOW:.0f}", key: bytes = SECRET.encode()) -> dict[str, str]:
    """What Vapi sends by its defaults."""
    return {"x-timestamp": at, "x-signature": signed(f"{at}.".encode() + body, key).hex()}


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


# Signatures as Vapi makes them


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_sample_vectors_pass(vector: dict[str, Any]) -> None:
    plan = {FIELDS[key]: value for key, value in vector["authenticationPlan"].items() if key in FIELDS}
    check = check_of(secrets=vector["authenticationPlan"]["secretKey"], now=1788195600, **plan)
    assert check(request(vector["headers"], vector["body"].encode()))
    assert not check(request(vector["headers"], vector["body"].encode() + b" "))


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha256=", "v1,", "HMAC "])
@pytest.mark.parametrize("is_base64", [False, True])
@pytest.mark.parametrize("include_timestamp", [False, True])
@pytest.mark.parametrize(
    "payload", ["{timestamp}.{body}", "{body}", "{svix-id}.{timestamp}.{body}", "{method} {url}\n{body}{body}"]
)
def test_every_combination_of_the_plan_passes_signed_by_hand_and_signed_by_us(
    algorithm: str, encoding: str, prefix: str, is_base64: bool, include_timestamp: bool, payload: str
) -> None:
    plan: dict[str, Any] = {
        "algorithm": algorithm,
        "signature_encoding": encoding,
        "signature_prefix": prefix,
        "secret_is_base64": is_base64,
        "include_timestamp": include_timestamp,
        "payload_format": payload,
        "message_id_header": "Webhook-Id",
    }
    at = f"{NOW:.0f}" if include_timestamp else ""
    is_default = payload == "{timestamp}.{body}" and not include_timestamp
    format_ = "{body}" if is_default else payload
    known = {"{timestamp}": at.encode(), "{svix-id}": b"msg_1", "{method}": b"POST", "{url}": URL.encode()}
    due = format_.encode()
    for name, value in known.items():
        due = due.replace(name.encode(), value)
    digest = signed(due.replace(b"{body}", BODY), KEY if is_base64 else SECRET.encode(), algorithm)
    written = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    headers = {"x-signature": prefix + written, "x-timestamp": at, "Webhook-Id": "msg_1"}
    secrets = base64.b64encode(KEY).decode() if is_base64 else SECRET

    check = check_of(secrets=secrets, **plan)
    assert check(request(headers))
    assert not check(request(headers, BODY + b"x"))
    assert not check(request(headers | {"x-signature": written[:-4]}))

    ours = signer(account(secrets=secrets, **plan), clock=lambda: NOW)("POST", URL, BODY)
    assert check(request(ours))


def test_svix_style_signatures_pass() -> None:
    """Standard Webhooks: `{svix-id}.{timestamp}.{body}`, a `whsec_` secret in base64, `v1,` before each signature."""
    plan = {
        "payload_format": "{svix-id}.{timestamp}.{body}",
        "signature_header": "svix-signature",
        "timestamp_header": "svix-timestamp",
        "message_id_header": "svix-id",
        "signature_prefix": "v1,",
        "signature_encoding": "base64",
        "secret_is_base64": True,
    }
    check = check_of(secrets="whsec_" + base64.b64encode(KEY).decode(), **plan)
    good = base64.b64encode(hmac.digest(KEY, b"msg_1.1788195960." + BODY, "sha256")).decode()
    other = base64.b64encode(bytes(32)).decode()
    headers = {"svix-id": "msg_1", "svix-timestamp": "1788195960", "svix-signature": f"v1,{good}"}

    assert check(request(headers))
    assert check(request(headers | {"svix-signature": f"v1,{other} v1,{good}"}))
    assert check(request(headers | {"svix-signature": f"v1,{good} v1a,{other}"}))
    assert check(request(headers | {"svix-signature": f"v1,{good.rstrip('=')}"}))
    assert not check(request(headers | {"svix-signature": f"v1,{other} v1,{other}"}))
    assert not check(request(headers | {"svix-signature": f"v2,{good}"}))
    assert not check(request(headers | {"svix-signature": good}))
    assert not check(request(headers | {"svix-id": "msg_2"}))
    assert not check(request({key: value for key, value in headers.items() if key != "svix-id"}))


@pytest.mark.parametrize("payload", ["{timestamp}.{body}.{svix-id}", "{method}{timestamp}{body}{url}{svix-id}"])
@given(st.data())
def test_a_change_of_any_byte_of_what_is_signed_is_refused(payload: str, data: st.DataObject) -> None:
    plan = {"payload_format": payload, "message_id_header": "id"}
    headers = signer(account(**plan), clock=lambda: NOW)("POST", URL, BODY)
    check = check_of(**plan)
    assert check(request(headers))

    position, bit = data.draw(st.integers(0, len(BODY) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(BODY)
    changed[position] ^= 1 << bit
    assert not check(request(headers, bytes(changed)))
    assert not check(request(headers, BODY[:position]))
    assert not check(request(headers | {"x-timestamp": f"{NOW + 1 + position:.0f}"}))
    assert not check(request(headers | {"id": headers["id"][:-1]}))


@given(st.integers(0, 255))
def test_a_change_of_any_bit_of_the_signature_is_refused(bit: int) -> None:
    digest = bytearray.fromhex(headers_of()["x-signature"])
    digest[bit // 8] ^= 1 << bit % 8
    assert not check_of()(request(headers_of() | {"x-signature": digest.hex()}))


@pytest.mark.parametrize("signature", ["", " ", "0", "zz", "\udcff", "ü", "00" * 32, "AAAA", "=", "'", "v1,"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_a_signature_that_is_none_is_refused(signature: str, encoding: str) -> None:
    assert not check_of(signature_encoding=encoding)(request(headers_of() | {"x-signature": signature}))


@given(
    st.dictionaries(
        st.sampled_from(["x-signature", "x-timestamp", "Authorization"]),
        st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff")),
    )
)
def test_whatever_stands_in_the_headers_the_check_says_no_and_never_fails(headers: dict[str, str]) -> None:
    assert not check_of()(request(headers))
    assert not check_of("bearer")(request(headers))


def test_the_right_signature_in_capitals_is_the_right_signature() -> None:
    assert check_of()(request(headers_of() | {"x-signature": headers_of()["x-signature"].upper()}))


def test_a_bearer_token_is_no_signature() -> None:
    assert not check_of()(request({"Authorization": "Bearer a-secret", "X-Vapi-Secret": "a-secret"}))


@pytest.mark.parametrize(
    ("secret", "is_good"), [("old", True), ("new", True), ("other", False), ("old,new", False), ("", False)]
)
def test_a_signature_by_either_of_two_secrets_is_good(secret: str, is_good: bool) -> None:
    assert check_of(secrets="old,new")(request(headers_of(key=secret.encode()))) is is_good


@pytest.mark.parametrize("secret", ["schlüssel", "鍵", "x" * 300])
def test_a_secret_may_be_of_any_characters_and_length(secret: str) -> None:
    assert check_of(secrets=secret)(request(headers_of(key=secret.encode())))


@pytest.mark.parametrize("sent", [URL, URL.replace("https", "http"), "/webhooks/vapi?x=1"])
def test_a_signed_url_is_any_of_those_that_a_proxy_may_have_hidden(sent: str) -> None:
    plan = {"payload_format": "{url}{body}"}
    headers = signer(account(**plan), clock=lambda: NOW)("POST", sent, BODY)
    urls = (URL, URL.replace("https", "http"), "/webhooks/vapi?x=1")
    assert check_of(**plan)(request(headers, urls=urls))
    assert not check_of(**plan)(request(headers, urls=("https://elsewhere.example.com",)))


def test_a_placeholder_in_the_body_stands_for_itself() -> None:
    body = b'{"text": "{timestamp}{body}"}'
    assert check_of()(request(headers_of(body), body))


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


# What our own `send` adds


def test_a_bearer_account_signs_with_its_first_secret() -> None:
    headers = signer(account("bearer", "new,old"))("POST", URL, BODY)
    assert headers == {"Authorization": "Bearer new"}
    assert bears(headers, "new,old")


def test_a_signature_of_ours_is_made_at_the_time_of_the_clock() -> None:
    headers = signer(account(), clock=lambda: NOW)("POST", URL, BODY)
    assert headers == headers_of()
