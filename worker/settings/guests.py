"""The user `guest`, whose password everybody knows: for a broker on this machine alone, as RabbitMQ itself has it.

Source: https://www.rabbitmq.com/docs/access-control#default-state
"""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from worker.settings.secret import Secret

GUEST = "guest"


def guest_abroad(urls: Secret) -> tuple[str, ...]:
    """The hosts, of those that are not this machine, at which the URLs log in as guest; none in them is guest too."""
    return tuple(dict.fromkeys(_guest_abroad(urls.each())))


def _guest_abroad(urls: Iterable[str]) -> Iterable[str]:
    for url in urls:
        parts = urlsplit(url)
        if (parts.username or GUEST) == GUEST and not _is_here(parts.hostname or "localhost"):
            yield parts.hostname or ""


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
