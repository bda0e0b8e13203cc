"""Debian's packages of a newer release, unpacked and not installed: what the system has is neither read nor changed."""

import shutil
import subprocess
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTED = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")


class NotDebianError(Exception):
    """This system does not have its packages from Debian, so that none of a newer release can be fetched."""


def unpack(release: str, into: Path, *command: str) -> None:
    """Unpack what a command of apt-get fetches, such as `download` with names; no right of root is needed.

    Raises `NotDebianError`, and `subprocess.CalledProcessError` if apt-get fails, whose reason is on stderr.
    """
    archive = _archive()
    packages = into / "packages"
    for folder in ("lists/partial", "archives/partial"):
        (packages / folder).mkdir(parents=True, exist_ok=True)
    (packages / "status").touch()
    (packages / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive} {release} main\n")
    _apt_get(packages, "update")
    _apt_get(packages, *command)
    for package in packages.rglob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, into], check=True)
    shutil.rmtree(packages)


def _archive() -> str:
    """Where this system has Debian's packages from: the newer release lies beside its own."""
    if KEYRING.exists() and shutil.which("apt-get"):
        listed = subprocess.run(LISTED, capture_output=True, text=True, check=True).stdout.split()
        if found := next((uri for uri in listed if uri.rstrip("/").endswith("/debian")), None):
            return found
    raise NotDebianError("this system does not have its packages from Debian")


def _apt_get(packages: Path, *command: str) -> None:
    settings = {
        "Dir::Etc::sourcelist": packages / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": packages,
        "Dir::State::lists": packages / "lists",
        "Dir::State::status": packages / "status",  # apt locks the folder it is in
        "Dir::Cache": packages,
        "Acquire::Languages": "none",
        "Acquire::Check-Valid-Until": "false",  # a mirror may lag behind; what it holds is still signed
        "APT::Sandbox::User": "",
    }
    options = [f"--option={key}={value}" for key, value in settings.items()]
    # With a download alone nobody is asked a question, and its stdout is progress.
    subprocess.run(
        ["apt-get", "--quiet", "--quiet", *options, *command],
        cwd=packages,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
