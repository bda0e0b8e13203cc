"""Programs that the tests of manifests ask: from Debian's packages of a newer release, unpacked and not installed.

`python -m tests.tools` sees to it that they are here; `make` runs it before the tests. On a system that is not Debian
the tests take what is on the PATH, and say what they skip.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

RELEASE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTED = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
HOME = Path(__file__).parents[1] / ".venv" / "tools"
PACKAGES = {"kustomize": "kustomize", "docker-compose": "docker-compose", "promtool": "promtool"}


def find(program: str) -> str | None:
    """Where a program is: the one unpacked here, or the one on the PATH."""
    return shutil.which(program, path=f"{HOME / 'usr/bin'}{os.pathsep}{os.environ['PATH']}")


def prepare() -> None:
    """Unpack what is missing. Raises `CalledProcessError`."""
    missing = sorted({package for program, package in PACKAGES.items() if find(program) is None})
    if missing and KEYRING.exists() and (archive := _archive()):
        packages = HOME / "packages"
        for folder in ("lists/partial", "archives/partial"):
            (packages / folder).mkdir(parents=True, exist_ok=True)
        (packages / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive} {RELEASE} main\n")
        _apt_get("update", packages)
        _apt_get("download", packages, *missing)
        for package in packages.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, HOME], check=True)
        shutil.rmtree(packages)


def _archive() -> str | None:
    """Where this system has Debian's packages from: the newer release lies beside its own."""
    if shutil.which("apt-get") is None:
        return None
    listed = subprocess.run(LISTED, capture_output=True, text=True, check=True).stdout.split()
    return next((uri for uri in listed if uri.rstrip("/").endswith("/debian")), None)


def _apt_get(command: str, packages: Path, *names: str) -> None:
    """Run apt-get on lists of its own: the system's are neither read nor changed, and no right of root is needed."""
    settings = {
        "Dir::Etc::sourcelist": packages / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": packages,
        "Dir::State::lists": packages / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": packages,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",
    }
    options = [f"--option={key}={value}" for key, value in settings.items()]
    subprocess.run(["apt-get", "--quiet", "--quiet", *options, command, *names], cwd=packages, check=True)


if __name__ == "__main__":
    try:
        prepare()
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"The tests of manifests do without {', '.join(PACKAGES)}: {error}\n")
