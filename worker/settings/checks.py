"""What single values of the settings cannot tell: how they fit together."""

from collections.abc import Callable, Iterable
from typing import Any

from worker.settings.fields import SUBSCRIBERS, Account, key_of
from worker.settings.secret import Secret, key_of_base64


def check(plain: dict[str, Any], accounts: tuple[Account, ...]) -> list[str]:
    """What single values cannot tell."""
    checks: tuple[Callable[[], Iterable[str]], ...] = (
        lambda: _check_amqp_url(plain.get("amqp_url")),
        lambda: _check_tiers(plain.get("retry_tiers_s", ())),
        lambda: _check_subscribers(plain.get("subscribers", ())),
        lambda: (problem for account in accounts for problem in _check_secrets(account)),
    )
    return [problem for check in checks for problem in check()]


def _check_amqp_url(urls: Secret | None) -> Iterable[str]:
    schemes = ("amqp://", "amqps://")
    if urls is not None and not (urls.each() and all(url.startswith(schemes) for url in urls.each())):
        yield "AFTERCALL_AMQP_URL: one address or several, each beginning with amqp:// or amqps://"


def _check_tiers(tiers: tuple[int, ...]) -> Iterable[str]:
    if list(tiers) != sorted(set(tiers)):
        yield "AFTERCALL_RETRY_TIERS_S: the waits must grow from one to the next"


def _check_subscribers(names: tuple[str, ...]) -> Iterable[str]:
    if unknown := sorted(set(names) - set(SUBSCRIBERS)):
        known = ", ".join(SUBSCRIBERS)
        yield f"AFTERCALL_SUBSCRIBERS: {', '.join(unknown)}: built in are {known}; your own go into aftercall.toml"


def _check_secrets(account: Account) -> Iterable[str]:
    key = key_of(account.name, "WEBHOOK_SECRETS")
    secrets = account.webhook_secrets.each()
    if "insecure" in secrets and len(secrets) > 1:
        yield f"{key}: `insecure` stands alone or not at all"
    if account.webhook_auth == "hmac" and "{body}" not in account.hmac.payload_format:
        body = key_of(account.name, "WEBHOOK_HMAC_PAYLOAD_FORMAT")
        yield f"{body}: without {{body}} a signature would fit any report"
    if account.webhook_auth == "hmac" and account.hmac.secret_is_base64 and not account.is_insecure:
        yield from (f"{key}: a secret is not base64" for secret in secrets if not _is_base64(secret))


def _is_base64(secret: str) -> bool:
    try:
        return bool(key_of_base64(secret))
    except ValueError:
        return False
