"""docker-compose.yml as it is read where nobody sets a variable, and its services as processes of their own."""

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parents[1]
DOCUMENT: dict[str, Any] = yaml.safe_load((HERE / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


@cache
def environment_of(name: str) -> dict[str, str]:
    """The environment of a service when nobody sets a variable."""
    return {key: VARIABLE.sub(r"\1", str(value)) for key, value in SERVICES[name]["environment"].items()}


def secrets_of(service: dict[str, Any]) -> dict[str, str]:
    """The secrets of a service, by their path in it."""
    given = [each if isinstance(each, dict) else {"source": each} for each in service.get("secrets", [])]
    return {each.get("target", f"/run/secrets/{each['source']}"): each["source"] for each in given}


def make_secrets(folder: Path, **environment: str) -> dict[str, str]:
    """What lies in a folder after `docker/make-secrets`."""
    subprocess.run([HERE / "docker/make-secrets", folder], check=True, stdout=subprocess.DEVNULL, env=environment)
    return {path.name: path.read_text() for path in folder.iterdir()}


class Mounted:
    """The services, whose secrets and settings lie elsewhere than in a container."""

    def __init__(self, secrets: Path, environment: Mapping[str, str]) -> None:
        self._secrets = secrets
        self._environment = environment

    def environment_of(self, name: str) -> dict[str, str]:
        """The environment of a service, its secrets' files being those that are mounted there."""
        places = {path: str(self._secrets / source) for path, source in secrets_of(SERVICES[name]).items()}
        told = {key: places.get(value, value) for key, value in environment_of(name).items()}
        return told | {"AFTERCALL_CONFIG": str(HERE / "docker/aftercall.toml")} | self._environment
