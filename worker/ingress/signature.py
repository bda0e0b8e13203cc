"""Is a webhook from Vapi? Bearer tokens and HMAC signatures, as Vapi's credentials make them.

Secrets are compared as bytes in constant time, over the bytes as they came, and each secret in turn, so that two are
good while one is being rotated.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from consumers.timestamps import instant_of_epoch
from worker.settings import Account, HmacPlan, key_of_base64

PLACEHOLDER: Final = re.compile(r"(\{(?:timestamp|body|method|url|svix-id)\})")
SVIX_ID: Final = "svix-id"
Headers = Mapping[str, str]


class Request(msgspec.Struct, frozen=True):
    """What of a request may be signed. `urls` are the addresses it may have been sent to: a proxy hides which."""

    method: str
    urls: tuple[str, ...]
    headers: Headers
    body: bytes


class Check(msgspec.Struct, frozen=True):
    """An account's check: what the headers tell by themselves, and, if that is not all, what they and the body do.

    So nothing is read of what carries no credentials.
    """

    head: Callable[[Headers], bool]
    whole: Callable[[Request], bool] | None = None

    def __call__(self, request: Request) -> bool:
        """Whether a request is from Vapi."""
        return self.head(request.headers) and (self.whole is None or self.whole(request))


def checker(account: Account, *, clock: Callable[[], float] = time.time) -> Check:
    """The check of an account's webhooks; secrets are looked up at each, since their file may change."""
    check = _bearer(account) if account.webhook_auth == "bearer" else _hmac(account, clock)
    if account.is_insecure:
        whole = check.whole
        return Check(
            lambda headers: account.is_insecure or check.head(headers),
            whole and (lambda request: account.is_insecure or whole(request)),
        )
    return check


def _bearer(account: Account) -> Check:
    return Check(lambda headers: _bears(headers, account.webhook_secrets.each()))


def _hmac(account: Account, clock: Callable[[], float]) -> Check:
    plan, secrets = account.hmac, account.webhook_secrets
    return Check(
        lambda headers: _may_be_signed(headers, plan, clock()),
        lambda request: _is_signed(request, plan, secrets.each()),
    )


def signer(account: Account, *, clock: Callable[[], float] = time.time) -> Callable[[str, str, bytes], dict[str, str]]:
    """What Vapi would add to a request of `(method, url, body)`: headers that pass the account's check."""
    secret = next(iter(account.webhook_secrets.each()), "")

    def sign(method: str, url: str, body: bytes) -> dict[str, str]:
        message_id = f"msg_{hashlib.sha256(body).hexdigest()[:24]}"
        timestamp = str(int(clock())) if account.hmac.include_timestamp else ""
        return _signature_headers(account.hmac, secret, _Signed(method, url, body, timestamp, message_id))

    if account.webhook_auth == "hmac" and not account.is_insecure:
        return sign
    return lambda _method, _url, _body: {"Authorization": f"Bearer {secret}"}


def _bears(headers: Headers, secrets: tuple[str, ...]) -> bool:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    offered = [headers.get("X-Vapi-Secret", "")]
    if scheme.lower() == "bearer":
        offered.append(token.strip())
    return _any_equal([_bytes(each) for each in offered if each], [_bytes(secret) for secret in secrets])


class _Signed(msgspec.Struct, frozen=True):
    """The parts a payload format may name."""

    method: str
    url: str
    body: bytes
    timestamp: str
    message_id: str


def _may_be_signed(headers: Headers, plan: HmacPlan, now: float) -> bool:
    is_recent = not plan.include_timestamp or _is_recent(headers.get(plan.timestamp_header, ""), plan.tolerance_s, now)
    return is_recent and bool(_digests(headers.get(plan.signature_header, ""), plan))


def _is_signed(request: Request, plan: HmacPlan, secrets: tuple[str, ...]) -> bool:
    offered = _digests(request.headers.get(plan.signature_header, ""), plan)
    timestamp = request.headers.get(plan.timestamp_header, "") if plan.include_timestamp else ""
    message_id = request.headers.get(plan.message_id_header or SVIX_ID, "")
    urls = request.urls if "{url}" in plan.payload_format else request.urls[:1]
    parts = [_Signed(request.method, url, request.body, timestamp, message_id) for url in urls]
    return _any_equal(offered, [_digest(plan, key, each) for key in _keys(plan, secrets) for each in parts])


def _any_equal(offered: list[bytes], due: list[bytes]) -> bool:
    """Whether any pair is equal, without saying by the time it takes which."""
    return sum(hmac.compare_digest(one, other) for one in offered for other in due) > 0


def _is_recent(timestamp: str, tolerance_s: float, now: float) -> bool:
    try:
        signed_at = instant_of_epoch(float(timestamp))
    except ValueError:
        return False
    return signed_at is not None and abs(now - signed_at) <= tolerance_s


def _digests(header: str, plan: HmacPlan) -> list[bytes]:
    """The signatures in a header: one, or several with spaces between, as Svix sends while a secret is rotated."""
    candidates = {header.strip(), *header.split()}
    bare = [each.removeprefix(plan.signature_prefix) for each in candidates if each.startswith(plan.signature_prefix)]
    return [digest for digest in (_decoded(each.strip(), plan.signature_encoding) for each in bare) if digest]


def _decoded(text: str, encoding: str) -> bytes:
    try:
        if encoding == "hex":
            return bytes.fromhex(text)
        return base64.b64decode(_bytes(text) + b"=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _payload(plan: HmacPlan, signed: _Signed) -> bytes:
    values = {
        "{timestamp}": _bytes(signed.timestamp),
        "{body}": signed.body,
        "{method}": _bytes(signed.method),
        "{url}": _bytes(signed.url),
        "{svix-id}": _bytes(signed.message_id),
    }
    return b"".join(values.get(part, _bytes(part)) for part in PLACEHOLDER.split(_template(plan)))


def _template(plan: HmacPlan) -> str:
    """What is signed: Vapi's default format begins with the time, and without one is the body alone."""
    is_default = plan.payload_format == HmacPlan().payload_format
    return "{body}" if is_default and not plan.include_timestamp else plan.payload_format


def _digest(plan: HmacPlan, key: bytes, signed: _Signed) -> bytes:
    return hmac.new(key, _payload(plan, signed), getattr(hashlib, plan.algorithm)).digest()


def _keys(plan: HmacPlan, secrets: tuple[str, ...]) -> list[bytes]:
    """The keys in the secrets; one that a changed file made no base64 is no key, and the others go on."""
    keys = []
    for secret in secrets:
        with suppress(ValueError):
            keys.append(key_of_base64(secret) if plan.secret_is_base64 else _bytes(secret))
    return keys


def _signature_headers(plan: HmacPlan, secret: str, signed: _Signed) -> dict[str, str]:
    (key,) = _keys(plan, (secret,))
    digest = _digest(plan, key, signed)
    written = digest.hex() if plan.signature_encoding == "hex" else base64.b64encode(digest).decode()
    headers = {plan.signature_header: plan.signature_prefix + written}
    if plan.include_timestamp:
        headers[plan.timestamp_header] = signed.timestamp
    if "{svix-id}" in plan.payload_format:
        headers[plan.message_id_header or SVIX_ID] = signed.message_id
    return headers


def _bytes(text: str) -> bytes:
    # aiohttp hands over header bytes that are no UTF-8 as surrogates; compare_digest refuses a str of them.
    return text.encode("utf-8", "surrogateescape")
