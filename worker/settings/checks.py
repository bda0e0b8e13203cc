"""What single values of the settings cannot tell: how they fit together."""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from typing import Any, Final
from urllib.parse import urlsplit

from consumers.alerts.table import Alerts
from consumers.redaction import trouble_of
from worker.settings.credentials import problems_of
from worker.settings.fields import PREFIX, SUBSCRIBERS, Account, key_of
from worker.settings.guests import guest_abroad
from worker.settings.secret import Secret, key_of_base64
from worker.settings.tls import OF_AMQP, problems_of_parameters

ADDRESSES: Final = ("amqp_url", "ledger_url", "archive_url")
DATABASES: Final = ("ledger_url", "archive_url")
NETWORKS: Final = ("webhook_allow", "webhook_trusted_proxies")


def check(plain: dict[str, Any], accounts: tuple[Account, ...]) -> list[str]:
    """What single values cannot tell."""
    checks: tuple[Callable[[], Iterable[str]], ...] = (
        lambda: _check_amqp_url(plain.get("amqp_url")),
        lambda: _check_parameters(plain, accounts),
        lambda: _check_guest(plain.get("amqp_url"), is_allowed=plain.get("amqp_allow_guest", False)),
        lambda: _check_management_url(plain.get("amqp_management_url")),
        lambda: (problem for name in ADDRESSES for problem in _check_address(name, plain.get(name))),
        lambda: (problem for name in DATABASES for problem in _check_database(name, plain.get(name))),
        lambda: (problem for name in NETWORKS for problem in _check_networks(name, plain.get(name, ()))),
        lambda: _check_tiers(plain.get("retry_tiers_s", ())),
        lambda: _check_redact(plain.get("redact", ())),
        lambda: _check_subscribers(plain.get("subscribers", ())),
        lambda: (problem for account in accounts for problem in _check_secrets(account)),
        lambda: _check_targets(plain, [account.name for account in accounts]),
        lambda: _check_alerts(plain.get("alerts"), [account.name for account in accounts]),
    )
    return [problem for check in checks for problem in check()]


def _check_amqp_url(urls: Secret | None) -> Iterable[str]:
    schemes = ("amqp://", "amqps://")
    if urls is not None and not urls:
        yield f"AFTERCALL_AMQP_URL {urls.unset}: it is the address of the broker"
    elif urls is not None and not (urls.each() and all(url.startswith(schemes) for url in urls.each())):
        yield "AFTERCALL_AMQP_URL: one address or several, each beginning with amqp:// or amqps://"


def _check_guest(urls: Secret | None, *, is_allowed: bool) -> Iterable[str]:
    if urls is None or is_allowed or any(_check_amqp_url(urls)) or not all(map(_is_readable, urls.each())):
        return
    if hosts := guest_abroad(urls):
        told = f"AFTERCALL_AMQP_URL: the user guest is for a broker on this machine, not for {', '.join(hosts)}"
        yield f"{told}: name another user, or allow it (AFTERCALL_AMQP_ALLOW_GUEST=true)"


def _check_management_url(url: Secret | None) -> Iterable[str]:
    schemes = ("http://", "https://")
    if url and not (url.reveal().startswith(schemes) and _is_readable(url.reveal(), needs_host=True)):
        yield "AFTERCALL_AMQP_MANAGEMENT_URL: the address of RabbitMQ's management API reads http://host:15672"


def _check_parameters(plain: dict[str, Any], accounts: tuple[Account, ...]) -> Iterator[str]:
    """The parameters of URLs: which files TLS is to use, and what else an AMQP URL may say."""
    for url in plain.get("amqp_url", Secret()).each():
        yield from problems_of_parameters("AFTERCALL_AMQP_URL", url, OF_AMQP)
    management = plain.get("amqp_management_url", Secret()).reveal()
    yield from problems_of_parameters("AFTERCALL_AMQP_MANAGEMENT_URL", management)
    yield from problems_of_parameters("AFTERCALL_CRM_BASE_URL", plain.get("crm_base_url", ""))
    for account in accounts:
        yield from problems_of_parameters(key_of(account.name, "VAPI_BASE_URL"), account.vapi_base_url)


def _check_address(name: str, urls: Secret | None) -> Iterable[str]:
    """A password with a `/` or `#` in it ends the host there, and is taken for a port."""
    if urls is not None and not all(map(_is_readable, urls.each())):
        encoded = "in a password, what is no letter or digit is percent-encoded: @ is %40, / is %2F"
        yield f"{PREFIX}{name.upper()}: an address reads scheme://user:password@host:port/name; {encoded}"


def _check_database(name: str, url: Secret | None) -> Iterable[str]:
    schemes = ("sqlite:", "postgres:", "postgresql:", "postgresql+psycopg:")
    if url and not any(_check_address(name, url)) and not url.reveal().startswith(schemes):
        yield f"{PREFIX}{name.upper()}: it is kept in sqlite:///path/to/file.db, or postgresql://user@host/name"


def _is_readable(url: str, *, needs_host: bool = False) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # of a port that is no number
        return False
    return bool(parts.hostname) or not (needs_host or port)


def _check_networks(name: str, words: tuple[str, ...]) -> Iterable[str]:
    if wrong := [word for word in words if not _is_network(word)]:
        yield f"{PREFIX}{name.upper()}: {', '.join(wrong)}: an address reads 192.0.2.1, or 192.0.2.0/24 for many"


def _is_network(word: str) -> bool:
    try:
        return bool(ip_network(word, strict=False))
    except ValueError:
        return False


def _check_tiers(tiers: tuple[int, ...]) -> Iterable[str]:
    if list(tiers) != sorted(set(tiers)):
        yield "AFTERCALL_RETRY_TIERS_S: the waits must grow from one to the next"


def _check_redact(paths: tuple[str, ...]) -> Iterable[str]:
    for path in paths:
        if trouble := trouble_of(path):
            yield f"AFTERCALL_REDACT: {path}: {trouble}"


def _check_subscribers(names: tuple[str, ...]) -> Iterable[str]:
    if unknown := sorted(set(names) - set(SUBSCRIBERS)):
        known = ", ".join(SUBSCRIBERS)
        yield f"AFTERCALL_SUBSCRIBERS: {', '.join(unknown)}: built in are {known}; your own go into aftercall.toml"


def _check_targets(given: dict[str, Any], accounts: list[str]) -> Iterable[str]:
    return problems_of(given.get("forward", {}), accounts, given.get("forward_secrets", Secret()))


def _check_alerts(alerts: Alerts | None, accounts: list[str]) -> Iterable[str]:
    for rule in alerts.rules if alerts else ():
        if unknown := sorted(set(rule.accounts) - set(accounts)):
            yield f"[alerts], rule {rule.name!r}: accounts: {', '.join(unknown)}: there are {', '.join(accounts)}"


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
