"""A value that never prints, and follows its file."""

import base64
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

NEXT_URL: Final = re.compile(r"\s*,\s*(?=amqps?://)")
PASSWORD: Final = re.compile(r"([?&]\w*pass\w*=).*", re.IGNORECASE)
"""A password among a URL's parameters, as PostgreSQL has it: https://www.postgresql.org/docs/current/libpq-connect.html"""


class Secret:
    """A secret given as text or as a file; a file is read again when its modification time changes.

    Prints as asterisks everywhere; only `reveal` tells. Kubernetes and Compose rotate a mounted secret by replacing
    the file, so a rotation needs no restart.
    """

    __slots__ = ("_path", "_seen", "_text")
    MASK: Final = "********"

    def __init__(self, text: str = "", *, path: str = "") -> None:
        self._text = text
        self._path = Path(path) if path else None
        self._seen = 0
        if self._path:
            self._read(self._path)

    def reveal(self) -> str:
        """The value as it is now; the last readable one while its file cannot be read."""
        if self._path:
            self._follow(self._path)
        return self._text

    @property
    def unset(self) -> str:
        """How to say that there is no value: an empty file is another trouble than none."""
        return f"is not set: {self._path} is empty" if self._path else "is not set"

    def each(self) -> tuple[str, ...]:
        """The comma-separated values in it, blanks dropped: two while one is being rotated."""
        return tuple(part for part in map(str.strip, self.reveal().split(",")) if part)

    def _follow(self, path: Path) -> None:
        with suppress(OSError, UnicodeDecodeError):
            if path.stat().st_mtime_ns != self._seen:
                self._read(path)

    def _read(self, path: Path) -> None:
        seen = path.stat().st_mtime_ns
        self._text = path.read_text(encoding="utf-8").strip()
        self._seen = seen

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    __hash__ = None  # type: ignore[assignment]  # its value may change under a set

    def __repr__(self) -> str:
        return f"Secret({self.MASK!r})" if self else "Secret()"

    __str__ = __repr__


def without_passwords(urls: str) -> str:
    """One URL or several, comma-separated, each without its password; of anything else, asterisks.

    A password that ought to be encoded and is not may hold any character, so all up to the last `@` counts as one.
    """
    return ",".join(map(_without_password, NEXT_URL.split(urls))) if urls else ""


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Secret.MASK
    login, at, place = rest.rpartition("@")
    user, colon, _password = login.partition(":")
    return PASSWORD.sub(r"\1***", f"{scheme}://{user}{':***' * bool(colon)}{at}{place}")


def key_of_base64(text: str) -> bytes:
    """The key that `text` is in base64: with or without padding, or the `whsec_` of Standard Webhooks before it.

    Both alphabets are read, as Vapi reads them. Raises `ValueError` for anything else, and for no key at all.
    """
    bare = text.removeprefix("whsec_").rstrip("=").replace("-", "+").replace("_", "/")
    key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    if not key:
        raise ValueError("an empty key")
    return key
