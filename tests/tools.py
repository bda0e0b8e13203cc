"""Programs that the tests of manifests ask: from Debian's packages of a newer release, unpacked and not installed.

`python -m tests.tools` sees to it that they are here; `make` runs it before the tests. On a system that is not Debian
the tests take what is on the PATH, and say what they skip.
"""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.debian import NotDebianError, unpack

RELEASE = "trixie"
HOME = Path(__file__).parents[1] / ".venv" / "tools"
PACKAGES = {"kustomize": "kustomize", "docker-compose": "docker-compose", "promtool": "promtool"}


def find(program: str) -> str | None:
    """Where a program is: the one unpacked here, or the one on the PATH."""
    return shutil.which(program, path=f"{HOME / 'usr/bin'}{os.pathsep}{os.environ['PATH']}")


def prepare() -> None:
    """Unpack what is missing. Raises `CalledProcessError`."""
    missing = sorted({package for program, package in PACKAGES.items() if find(program) is None})
    if missing:
        with suppress(NotDebianError):
            unpack(RELEASE, HOME, "download", *missing)


if __name__ == "__main__":
    try:
        prepare()
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"The tests of manifests do without {', '.join(PACKAGES)}: {error}\n")
