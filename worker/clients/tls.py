"""TLS with whom we talk to: whom we trust, who we say we are, and what is wrong when it fails, in words."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from worker.settings.tls import TlsFiles

_CONTEXTS: Final[dict[TlsFiles, tuple[tuple[int, ...], ssl.SSLContext]]] = {}


class TlsFileUnusable(OSError):
    """A file of TLS cannot be read or holds something else; the text says which, and why.

    OpenSSL's own error is not its cause: it would be taken for a trouble with the other side, and names no file.
    """


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """A context that checks certificate and host name, and shows our certificate, if `files` name one.

    Whom to trust is in `cafile`, else with the system, or in what `SSL_CERT_FILE` names. Reads files, so it may take
    20 ms. Raises `TlsFileUnusable`.
    """
    _require_readable(files)
    context = _trusting(files.cafile)
    if files.certfile:
        _show(context, files)
    return context


def followed_context(files: TlsFiles) -> ssl.SSLContext | bool:
    """The same for each request of an HTTP client: read again when a file has changed, and kept until then.

    Without any it is True, the client's own context. Raises `TlsFileUnusable`.
    """
    if not files:
        return True
    _require_readable(files)
    seen = tuple(path.stat().st_mtime_ns for path in _paths(files))
    if _CONTEXTS.get(files, ((), None))[0] != seen:
        _CONTEXTS[files] = seen, context_of(files)
    return _CONTEXTS[files][1]


def _paths(files: TlsFiles) -> Iterator[Path]:
    return (Path(each) for each in (files.cafile, files.certfile, files.keyfile) if each)


def _require_readable(files: TlsFiles) -> None:
    """`ssl` would not say which file it could not read."""
    for path in _paths(files):
        try:
            path.open("rb").close()
        except OSError as error:
            raise TlsFileUnusable(f"{path} cannot be read: {error.strerror}") from error


def _trusting(cafile: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile or None)
    except ssl.SSLError:
        raise TlsFileUnusable(f"{cafile} holds no certificate in PEM") from None


def _show(context: ssl.SSLContext, files: TlsFiles) -> None:
    keyfile = files.keyfile or files.certfile

    def no_passphrase() -> NoReturn:  # or OpenSSL would ask whoever sits at the terminal
        raise TlsFileUnusable(f"{keyfile} has a passphrase: give it a key without one, readable by this user alone")

    try:
        context.load_cert_chain(files.certfile, keyfile, password=no_passphrase)
    except ssl.SSLError:
        raise TlsFileUnusable(f"{files.certfile} and {keyfile} are no certificate and its key in PEM") from None
