"""A CA of our own and what it signs, made by the command `openssl`, which comes with PostgreSQL's server."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
NAMES = "DNS:localhost,IP:127.0.0.1"
EXTENSIONS = """
subjectAltName={names}
extendedKeyUsage=serverAuth,clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key: PEM files."""

    cert: Path
    key: Path

    @property
    def query(self) -> str:
        """The two as parameters of an address of ours."""
        return f"certfile={self.cert}&keyfile={self.key}"


class Authority:
    """A CA in a folder. What it signs is good for 127.0.0.1 and localhost, for client and server, unless said."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.cert, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # without it newer Pythons trust no CA
        self._openssl("req", "-x509", *KEY, *usage, "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.cert)

    def sign(self, name: str, *, names: str = NAMES, days: int = 1) -> Certificate:
        """A certificate in `<name>.pem`; with -1 `days` it expired yesterday. A name's files are replaced."""
        request, signed = self._folder / f"{name}.csr", Certificate(self._folder / f"{name}.pem", self._key_of(name))
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(EXTENSIONS.format(names=names))
        self._openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", signed.key, "-out", request)
        by = ("-CA", self.cert, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions)
        whole = self._folder / f"{name}.new"
        self._openssl("x509", "-req", "-in", request, *by, "-days", str(days), "-out", whole)
        whole.replace(signed.cert)
        return signed

    def _key_of(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
