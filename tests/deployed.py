"""What the manifests tell a process of ours, read as the process reads it."""

from collections.abc import Mapping
from pathlib import Path

from worker.settings import Settings, load

SECRETS = {
    "AFTERCALL_AMQP_URL": "amqp://user:password@rabbitmq:5672/",
    "AFTERCALL_ARCHIVE_URL": "postgresql://user:password@postgres/aftercall",
    "AFTERCALL_LEDGER_URL": "postgresql://user:password@postgres/aftercall",
    "AFTERCALL_FORWARD_SECRETS": "",
}


def settings_of(environment: Mapping[str, str], toml: str, folder: Path) -> Settings:
    """The settings of a process with that environment, its secrets' files and its `aftercall.toml` being at hand.

    Raises `SettingsError`, as for a key that is misspelt.
    """
    given = dict(environment)
    for key in [key for key in given if key.endswith("_FILE")]:
        path = folder / key
        path.write_text(SECRETS.get(key.removesuffix("_FILE"), "a-secret"))
        given[key] = str(path)
    (folder / "aftercall.toml").write_text(toml)
    return load(given | {"AFTERCALL_CONFIG": str(folder / "aftercall.toml")})
