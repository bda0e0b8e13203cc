"""Which addresses belong to the public Internet: what a configured URL may lead to, and what it may not.

From the IANA special-purpose registries, stricter than `ipaddress.is_global`, which calls multicast, NAT64 and some
metadata services global. An address that carries another within it is judged by that one.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

IPV6_UNICAST: Final = ip_network("2000::/3")
NAT64: Final = ip_network("64:ff9b::/96")
NOT_PUBLIC: Final = (
    ip_network("192.0.0.0/24"),  # with Oracle Cloud's metadata service, 192.0.0.192
    ip_network("192.88.99.0/24"),
    ip_network("168.63.129.16/32"),  # Azure's host
    ip_network("3fff::/20"),
)


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public Internet; what is no address, or an odd spelling of one, is not."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if (within := _within(address)) is not None:
        return is_public(str(within))
    if isinstance(address, IPv6Address) and address not in IPV6_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not any(address in each for each in NOT_PUBLIC)


def _within(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, by 6to4, or by NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour
