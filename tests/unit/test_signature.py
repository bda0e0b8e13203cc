"""Signatures as Vapi makes them, and as our own `send` does."""

import base64
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.signing import (
    BODY,
    FIELDS,
    KEY,
    NOW,
    SECRET,
    URL,
    VECTORS,
    account,
    bears,
    check_of,
    headers_of,
    request,
    signed,
)
from worker.ingress.signature import signer

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


# What our own `send` adds


def test_a_bearer_account_signs_with_its_first_secret() -> None:
    headers = signer(account("bearer", "new,old"))("POST", URL, BODY)
    assert headers == {"Authorization": "Bearer new"}
    assert bears(headers, "new,old")


def test_a_signature_of_ours_is_made_at_the_time_of_the_clock() -> None:
    headers = signer(account(), clock=lambda: NOW)("POST", URL, BODY)
    assert headers == headers_of()
