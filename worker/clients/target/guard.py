"""Keeps what is posted out of the private network, whatever a URL says and its name resolves to."""

import errno
import socket
from typing import Final

from aiohttp import AddrInfoType

from consumers.addresses import is_public

REFUSED: Final = "its name leads to an address that is not public, which takes allow_private = true"


class PrivateAddress(OSError):
    """A connection was about to be made to an address that is not of the public Internet."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, REFUSED)


def public_socket(info: AddrInfoType) -> socket.socket:
    """A socket for one address, made just before it is connected: what is looked at is what is connected to.

    So a name that resolves otherwise the second time gains nothing by it. Raises `PrivateAddress`.
    """
    family, type_, protocol, _, address = info
    if not is_public(str(address[0])):
        raise PrivateAddress
    return socket.socket(family, type_, protocol)
