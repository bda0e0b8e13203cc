"""The files of TLS that a URL names among its parameters: `amqps://…?cafile=/ca.pem&certfile=/us.pem&keyfile=/us.key`.

The names are those of aiormq. PostgreSQL's URLs have such parameters too, of their own names, which libpq reads.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl

import msgspec

TLS_SCHEMES: Final = ("amqps", "https")
OF_AMQP: Final = ("heartbeat", "timeout", "name", "auth", "interleave", "happy_eyeballs_delay")
"""What else an AMQP URL may say: to aiormq and aio-pika."""


class TlsFiles(msgspec.Struct, frozen=True):
    """Whom to trust, in place of the system's CAs, and who we are: paths of PEM files, empty where none is named.

    Without `keyfile` the key stands in `certfile`.
    """

    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""

    def __bool__(self) -> bool:
        return self != NO_FILES


NO_FILES: Final = TlsFiles()
NAMES: Final = TlsFiles.__struct_fields__


def tls_files_of(url: str) -> TlsFiles:
    """The files that a URL names."""
    given = _parameters(url)
    return TlsFiles(**{name: given.get(name, "") for name in NAMES})


def root_of(url: str) -> str:
    """A base URL to put a path behind: without its parameters, which name files of TLS, and the last slash."""
    return url.partition("?")[0].rstrip("/")


def problems_of_parameters(key: str, url: str, others: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with a URL's parameters, a sentence each: there are the files of TLS, and `others`.

    Any other is refused: one that was thought to name a CA, or to switch the check of certificates off, must not pass.
    """
    scheme, given = url.partition("://")[0], _parameters(url)
    if unknown := sorted(given.keys() - {*NAMES, *others}):
        known = ", ".join((*NAMES, *others))
        told = "what follows `?`" if "@" in url.partition("?")[2] else ", ".join(unknown)  # it may be of the password
        yield f"{key}: {told}: its parameters are {known}; a certificate is always checked"
    if (named := [name for name in NAMES if name in given]) and scheme not in TLS_SCHEMES:
        yield f"{key}: {', '.join(named)}: of use with TLS alone: write {scheme}s://"
    if "keyfile" in given and "certfile" not in given:
        yield f"{key}: keyfile is the key of a certfile, which is not named"


def _parameters(url: str) -> dict[str, str]:
    """What stands behind the question mark; of any text, since whether it is an address is told elsewhere."""
    return dict(parse_qsl(url.partition("#")[0].partition("?")[2], keep_blank_values=True))
