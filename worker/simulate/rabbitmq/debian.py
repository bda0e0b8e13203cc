"""Installing Debian's package of RabbitMQ for our own use, without the node that it would start for the system."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.simulate.rabbitmq.commands import run
from worker.simulate.rabbitmq.home import NoBrokerError, find_server

_POLICY = Path("/usr/sbin/policy-rc.d")
_SAVED_POLICY = Path("/usr/sbin/policy-rc.d.saved-by-aftercall")
_INSTALL_S = 900.0


def can_install() -> bool:
    """Whether we may install packages here: root, on a system with apt-get."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


async def install_server() -> None:
    """Install the package rabbitmq-server; no service of it runs afterwards, nor starts with the machine.

    Raises `NoBrokerError`, quoting what apt-get said last.
    """
    try:
        with no_service_starts(_POLICY, _SAVED_POLICY):
            await _apt_get("update")
            await _apt_get("install", "--yes", "--no-install-recommends", "rabbitmq-server")
        await _forget_services()
    except (subprocess.CalledProcessError, TimeoutError) as error:
        raise NoBrokerError(f"apt-get could not install rabbitmq-server: {_last_lines(error)}") from error
    if find_server() is None:
        raise NoBrokerError("The package rabbitmq-server is installed, but its server is not where it is expected.")


async def _forget_services() -> None:
    """Keep the services of the new packages from starting with the machine, under systemd and under SysV init."""
    for command in (("systemctl", "disable", "rabbitmq-server", "epmd"), ("update-rc.d", "rabbitmq-server", "disable")):
        with suppress(subprocess.CalledProcessError):  # a system without the one has the other, or starts nothing
            await run(*command, within_s=60)


async def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    await run("apt-get", "--quiet", *arguments, within_s=_INSTALL_S, environment=environment)


@contextmanager
def no_service_starts(policy: Path, saved: Path) -> Iterator[None]:
    """Forbid packages to start services: they ask this file, and 101 means no.

    Source: README.policy-rc.d.gz of Debian's init-system-helpers. A policy that is already there comes back afterwards,
    also if an earlier run was killed before it could put it back.
    """
    if policy.exists() and not saved.exists():
        policy.rename(saved)
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
        if saved.exists():
            saved.rename(policy)


def _last_lines(error: subprocess.CalledProcessError | TimeoutError) -> str:
    if isinstance(error, TimeoutError):
        return f"it took more than {_INSTALL_S:g} s"
    return "\n".join(str(error.output).splitlines()[-10:])
