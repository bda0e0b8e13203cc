"""What libraries say of their errors, for people: without the numbers, tuples and addresses in memory of Python's."""

import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Final

# As in `[Errno 111] Connect call failed ('127.0.0.1', 5672)`, ` ssl:default` and `<Connection.Close object at 0x7f…>`.
NOISE: Final = re.compile(r"\[Errno -?\d+\] | ssl:default| object at 0x[0-9a-f]+")
ADDRESS: Final = re.compile(r"\('([^']*)', (\d+)[^)]*\)")


CAUSES_MAX: Final = 4
EXPIRED: Final = "its certificate has expired: renew it there, or mend this machine's clock"
NOT_TRUSTED: Final = "its certificate is of a CA that is not trusted here: name the CA's file"
OTHER_NAME: Final = "its certificate is for another host: use a name that it has, or have it issued for this one"
NO_CLIENT: Final = "it asks for a client certificate: name one by certfile and keyfile"
REFUSED: Final = "it refuses our client certificate"
# Numbers of OpenSSL's x509_vfy.h, which Python passes on.
OF_CHECK: Final[Mapping[int, str]] = {
    9: "its certificate is not valid yet: mend this machine's clock, or the certificate",
    10: EXPIRED,
    **dict.fromkeys((18, 19, 20, 21), NOT_TRUSTED),
    **dict.fromkeys((62, 64), OTHER_NAME),
}
# What the other side says of us, by the alerts of RFC 8446, section 6.2, as OpenSSL names them.
OF_ALERT: Final[Mapping[str, str]] = {
    "CERTIFICATE_REQUIRED": NO_CLIENT,
    "HANDSHAKE_FAILURE": f"{NO_CLIENT}, or shares no cipher with us",
    "CERTIFICATE_EXPIRED": f"{REFUSED}, which has expired: renew it",
    "UNKNOWN_CA": f"{REFUSED}, of a CA that it does not trust: have it issued by one that it does",
    "BAD_CERTIFICATE": f"{REFUSED}: have it issued by a CA that it trusts",
    "WRONG_VERSION_NUMBER": "it speaks no TLS there: check port and scheme",
    "RECORD_LAYER_FAILURE": "it speaks no TLS there: check port and scheme",
}


def in_words(error: BaseException) -> str:
    """What an error says, or its class if it says nothing; of TLS what is wrong, and what to do."""
    return why_no_tls(error) or ADDRESS.sub(r"\1:\2", NOISE.sub("", str(error))) or type(error).__name__


def why_no_tls(error: BaseException) -> str:
    """What is wrong with TLS, and what to do about it; empty if the trouble is another."""
    return next((_of_tls(each) for each in _causes(error) if _is_of_tls(each)), "")


def _is_of_tls(error: BaseException) -> bool:
    """Whether Python's `ssl` raised it: aiohttp's own are of its classes too, without what it says of a certificate."""
    return isinstance(error, ssl.SSLError) and not hasattr(error, "os_error")


def _of_tls(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return OF_CHECK.get(error.verify_code, f"its certificate is not good: {error.verify_message}")
    return next((words for alert, words in OF_ALERT.items() if alert in str(error)), f"TLS failed: {error}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came of, which aiohttp keeps in `os_error`, and others as the cause."""
    for _ in range(CAUSES_MAX):  # they can go in a circle
        if error is not None:
            yield error
            error = getattr(error, "os_error", None) or error.__cause__
