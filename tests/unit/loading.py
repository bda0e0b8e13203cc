"""Settings loaded from an environment or an aftercall.toml of a test's own, and what is wrong with them."""

from pathlib import Path

import pytest

from worker.settings import Settings, SettingsError, load

NOWHERE = Path("there-is-no-such-folder")
LEAK = "s3cr3t-that-never-prints"
ACME = "AFTERCALL_ACCOUNTS__ACME_DENTAL__"


def loaded(folder: Path = NOWHERE, /, **environ: str) -> Settings:
    return load({f"AFTERCALL_{key}": value for key, value in environ.items()}, folder)


def problems(environ: dict[str, str], folder: Path = NOWHERE) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(environ, folder)
    return caught.value.problems


def problem(folder: Path = NOWHERE, /, **environ: str) -> str:
    (one,) = problems({f"AFTERCALL_{key}": value for key, value in environ.items()}, folder)
    return one


def from_toml(tmp_path: Path, text: str, **environ: str) -> Settings:
    (tmp_path / "aftercall.toml").write_text(text, encoding="utf-8")
    return loaded(tmp_path, **environ)


def toml_problems(tmp_path: Path, text: str) -> tuple[str, ...]:
    (tmp_path / "aftercall.toml").write_text(text, encoding="utf-8")
    return problems({}, tmp_path)
