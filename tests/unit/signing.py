"""Accounts, requests and checks of them, and HMAC by its definition."""

import hashlib
from collections.abc import Mapping
from typing import Any

from tests.unit.builders import sample
from worker.ingress.signature import Check, Request, checker
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
