"""Who posts: the address behind the proxies, whether it may post at all, and how often it was refused of late."""

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]

WINDOW_S: Final = 60
MOST_CALLERS: Final = 100_000
"""Beyond, all are forgotten: a flood from everywhere is to take no memory."""
IPV6_PREFIX: Final = 64
"""One customer of a provider has so many addresses at least."""


def networks(words: Iterable[str]) -> Networks:
    """`167.150.224.0/23`, or single addresses. Raises `ValueError` for anything else."""
    return tuple(ip_network(word, strict=False) for word in words)


class Callers(msgspec.Struct, frozen=True):
    """Who may post (nobody named: anyone), and the proxies whose `X-Forwarded-For` is believed."""

    allowed: Networks = ()
    proxies: Networks = ()

    def may_post(self, peer: str, forwarded: str) -> bool:
        """Whether a request may come from where it comes from."""
        if not self.allowed:
            return True
        address = self.address_of(peer, forwarded)
        return address is not None and _is_in(address, self.allowed)

    def name_of(self, peer: str, forwarded: str) -> str:
        """What refusals are counted by: an IPv4 address, or the network of an IPv6 one."""
        address = self.address_of(peer, forwarded)
        if isinstance(address, IPv6Address):
            return str(ip_network((address, IPV6_PREFIX), strict=False))
        return str(address or "unknown")

    def address_of(self, peer: str, forwarded: str) -> Address | None:
        """The nearest address that is no proxy of ours; None if what stands there is no address.

        Each proxy adds whom it heard to the right of `X-Forwarded-For`; further left, anyone may have written anything.
        """
        address = _address(peer)
        for hop in reversed(forwarded.split(",") if forwarded else []):
            if address is None or not _is_in(address, self.proxies):
                break
            address = _address(hop)
        return address


def _is_in(address: Address, some: Networks) -> bool:
    return any(address in network for network in some)


def _address(text: str) -> Address | None:
    """An IP address, also with a port as some proxies write it, or with IPv4 within IPv6 as some systems do."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


class Refusals:
    """How often callers were refused in the present minute, to stop telling each when it is `most`; 0: never."""

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._window = 0
        self._counts: Counter[str] = Counter()

    def add(self, now: float, *callers: str) -> int:
        """Count a refusal of each of them; how many the one with the most has beyond what is told one by one."""
        window = int(now // WINDOW_S)
        if window != self._window or len(self._counts) > MOST_CALLERS:
            self._window, self._counts = window, Counter()
        self._counts.update(callers)
        return max(0, max(self._counts[each] for each in callers) - self.most) if self.most else 0
