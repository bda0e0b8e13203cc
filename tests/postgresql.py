"""A PostgreSQL server of our own for the tests: in a directory of its own, on a free port of 127.0.0.1.

`python -m tests.postgresql` sees to it that one can be had, and starts none: `make` runs it before the tests.
"""

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import psycopg

from tests.certificates import Authority, Certificate
from worker.simulate.rabbitmq import free_ports
from worker.simulate.rabbitmq.commands import run
from worker.simulate.rabbitmq.debian import can_install, no_service_starts
from worker.simulate.rabbitmq.guard import Guard

CHOICES = "The tests need PostgreSQL's server, and none is here: install the package postgresql."
INSTALL_S = 900.0
END = 'cat; kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")"; sleep 0.2; rm -rf "$1"'


class NoPostgresqlError(Exception):
    """There is no PostgreSQL here; the text says what to do."""


class PrivatePostgresql:
    """Used as `async with PrivatePostgresql() as server`; it ends with the context, or with our process.

    With `is_durable` it waits for the disk at each commit, as a server of an installation does.
    """

    def __init__(self, *, is_durable: bool = False) -> None:
        self._binaries = find_binaries()
        self._port = free_ports(1)[0]
        self._fsync = "on" if is_durable else "off"

    @property
    def url(self) -> str:
        return f"postgresql://aftercall@127.0.0.1:{self._port}/postgres"

    @property
    def port(self) -> int:
        return self._port

    async def __aenter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="aftercall-postgresql-"))
        self._guard = Guard(END, str(self._directory))
        if os.geteuid() == 0:
            shutil.chown(self._directory, self._user())
        initialise = ("--username=aftercall", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self._run("initdb", "--pgdata=data", *initialise)
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._guard.release()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self._port} -h 127.0.0.1 -k '' -c fsync={self._fsync} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log", f"--options={options}")

    def secure(self, authority: Authority, certificate: Certificate) -> None:
        """From now on take connections by TLS alone, of clients with a certificate of the authority."""
        data = self._directory / "data"
        for name, source in (("ca", authority.cert), ("server", certificate.cert), ("key", certificate.key)):
            shutil.copy(source, data / name)
            (data / name).chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(data / name, self._user())
        files = "ssl_ca_file = 'ca'\nssl_cert_file = 'server'\nssl_key_file = 'key'\n"
        (data / "postgresql.auto.conf").write_text(f"ssl = on\n{files}")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n")
        self.kill()
        self.start()

    def kill(self) -> None:
        """End it at once, as a crash would; `start()` begins it again."""
        self._run("pg_ctl", "stop", "--pgdata=data", "--mode=immediate")

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database of one's own."""
        name = f"test_{uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        yield self.url.replace("/postgres", f"/{name}")
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, command: str, *arguments: str) -> None:
        """Run a command of the server, which refuses to be run by root."""
        given: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam(self._user())
            given = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with (self._directory / "commands.log").open("ab") as log:
            done = subprocess.run(
                [self._binaries / command, *arguments],
                cwd=self._directory,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=60,
                check=False,
                **given,
            )
        if done.returncode:
            logs = (path.read_text(errors="replace") for path in self._directory.glob("*log"))
            raise NoPostgresqlError(f"PostgreSQL's {command} failed:\n{''.join(logs)[-3000:]}")

    def _user(self) -> str:
        with suppress(KeyError):
            return pwd.getpwnam("postgres").pw_name
        return "nobody"


def find_binaries() -> Path:
    """Where the newest server that is installed has its commands. Raises `NoPostgresqlError`."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    on_path = shutil.which("initdb")
    found = [each for each in folders if (each / "initdb").exists()] + ([Path(on_path).parent] if on_path else [])
    if not found:
        raise NoPostgresqlError(CHOICES)
    return max(found, key=lambda folder: [int(part) for part in folder.parent.name.split(".") if part.isdigit()])


async def prepare() -> None:
    """Install Debian's package if there is no server and we may. Raises `NoPostgresqlError`."""
    try:
        find_binaries()
    except NoPostgresqlError:
        if not can_install():
            raise
        await _install()
        find_binaries()


async def _install() -> None:
    sys.stderr.write("Installing the package postgresql …\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        with no_service_starts(Path("/usr/sbin/policy-rc.d"), Path("/usr/sbin/policy-rc.d.saved-by-aftercall")):
            for arguments in (("update",), ("install", "--yes", "--no-install-recommends", "postgresql")):
                await run("apt-get", "--quiet", *arguments, within_s=INSTALL_S, environment=environment)
    except (subprocess.CalledProcessError, TimeoutError) as error:
        told = str(getattr(error, "output", "it took too long"))[-1000:]
        raise NoPostgresqlError(f"apt-get could not install postgresql: {told}") from error
    for command in (("systemctl", "disable", "postgresql"), ("update-rc.d", "postgresql", "disable")):
        with suppress(subprocess.CalledProcessError):  # a system without the one has the other, or starts nothing
            await run(*command, within_s=60)


def main() -> int:
    """0 if there will be a server, 69 if not."""
    try:
        asyncio.run(prepare())
    except NoPostgresqlError as error:
        sys.stderr.write(f"{error}\n")
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main())
