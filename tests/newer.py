"""Newer releases of Debian beside this one: their Python, RabbitMQ and PostgreSQL, with neither Docker nor an install.

`python -m tests.newer forky` runs the tests there that tell versions apart; with more arguments pytest is told those,
and `--unpack` only gets the release ready.
The release's /usr lies over the system's in a mount namespace of the process alone: nobody else sees it, nothing is
left when it ends, and all other paths are the same inside and outside.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.debian import NotDebianError, unpack

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".debian"
LOCK = ROOT / "requirements-dev.lock"
FETCH = ("install", "--download-only", "--yes", "--no-install-recommends")
PACKAGES = ("?essential", "python3-venv", "rabbitmq-server", "postgresql", "curl", "mount")
UNPACK = "--unpack"
OVERLAY = 'mount --bind "$0" /usr && exec "$@"'
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install")
VERSIONS = (
    "import glob, platform; nodes = glob.glob('/usr/lib/rabbitmq/lib/rabbitmq_server-*');"
    "print('Python', platform.python_version(), 'and RabbitMQ', *(node.rpartition('-')[2] for node in nodes))"
)
SPREAD = ("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not alone")
TRAVELS = "tests/acceptance/test_a_call_travels.py"
TOPOLOGY = ("tests/integration/test_topology_live.py", "tests/integration/test_topology_live_messages.py")
DRILL = "tests/faults/test_the_drill.py::test_30_no_call_is_lost_whatever_the_adversary_does[4]"
LEADER = ("tests/faults/test_a_cluster_loses_its_leader.py", "-k", "the_leader_of_the_queue_is_killed")
CHOSEN = {
    "trixie": [(TRAVELS, *TOPOLOGY, *SPREAD)],
    "forky": [(DRILL, TRAVELS, *TOPOLOGY, *SPREAD), LEADER],
}


class Release:
    """One release of Debian, unpacked in a folder of its own, and an environment with what the lock file names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._folder = HOME / name
        self._environment = self._folder / "venv"
        self.python = str(self._environment / "bin" / "python")

    def run(self, *command: str) -> int:
        """Run a command there, and return its exit code."""
        enter = ("unshare", "--mount", "sh", "-c", OVERLAY, str(self._folder / "usr"))
        path = os.pathsep.join((str(self._environment / "bin"), "/usr/sbin", "/usr/bin"))
        environment = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": ""}  # what is compiled once is kept
        return subprocess.run([*enter, *command], cwd=ROOT, env=environment, check=False).returncode

    def prepare(self) -> None:
        """Fetch, unpack and install what is missing, one after the other if two ask for it.

        Raises `NotDebianError` and `subprocess.CalledProcessError`.
        """
        subprocess.run(["unshare", "--mount", "true"], check=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._unpack()
            self._install()

    def _unpack(self) -> None:
        packages = self._folder / "packages"
        if not packages.exists() or packages.read_text() != " ".join(PACKAGES):
            unpack(self.name, self._folder / "new", *FETCH, *PACKAGES)
            shutil.rmtree(self._folder / "usr", ignore_errors=True)
            (self._folder / "new" / "usr").rename(self._folder / "usr")
            shutil.rmtree(self._folder / "new")
            packages.write_text(" ".join(PACKAGES))

    def _install(self) -> None:
        installed = self._environment / "installed"
        if not installed.exists() or installed.stat().st_mtime < LOCK.stat().st_mtime:
            self._must("/usr/bin/python3", "-m", "venv", "--clear", str(self._environment))
            wheels = ("--no-compile", "--only-binary", ":all:", "--require-hashes", "--requirement", str(LOCK))
            self._must(self.python, *PIP, *wheels)
            self._must(self.python, *PIP, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
            installed.touch()

    def _must(self, *command: str) -> None:
        if code := self.run(*command):
            raise subprocess.CalledProcessError(code, command)


def main(name: str, *arguments: str) -> int:
    """0 if the tests passed there, or if nothing can be tried there, which is said then."""
    release = Release(name)
    try:
        release.prepare()
    except (NotDebianError, OSError, subprocess.CalledProcessError) as error:
        why = "see above" if isinstance(error, subprocess.CalledProcessError) else error
        sys.stderr.write(f"Nothing was tried on Debian {name}, which needs root and Debian's packages: {why}\n")
        return 0
    if arguments == (UNPACK,):
        return 0
    release.run(release.python, "-c", VERSIONS)
    selections = [arguments] if arguments else CHOSEN[name]
    pytest = (release.python, "-m", "pytest", "-p", "no:cacheprovider")
    codes = [release.run(*pytest, *each) for each in selections]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
