"""`aftercall config`: what the settings come to."""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec
from msgspec.structs import asdict

from worker.cli.output import Format, print_json, print_rows
from worker.settings import Secret, Settings, load
from worker.settings.reading import FIELDS


def config(*, reference: bool = False, output: Format = "text") -> None:
    """Show the effective settings, secrets masked.

    Example: aftercall config --output json

    Parameters
    ----------
    reference
        Show every key with its default and meaning instead, as a Markdown table.

    """
    if reference:
        sys.stdout.writelines(line + "\n" for line in reference_table())
        return
    settings = load(os.environ)
    if output == "json":
        print_json({row["key"]: row["value"] for row in _rows(settings)})
    else:
        print_rows([{**row, "value": _text(row["value"])} for row in _rows(settings)], output)


def reference_table() -> Iterator[str]:
    """Every setting as a line of a Markdown table, from the fields themselves."""
    yield "| key | default | |"
    yield "|---|---|---|"
    for key, field in FIELDS.items():
        yield f"| `{key}` | {_default(field.default)} | {_meaning(field.type)} |"


def _default(value: Any) -> str:
    text = _text(value.reveal() if isinstance(value, Secret) else value)
    return f"`{text}`" if text else "none"


def _meaning(annotated: Any) -> str:
    metas = (each for each in get_args(annotated) if isinstance(each, msgspec.Meta))
    return next((meta.description for meta in metas if meta.description), "")


def _rows(settings: Settings) -> Iterator[Mapping[str, Any]]:
    for name, value in asdict(settings).items():
        if name == "accounts":
            yield {"key": "accounts", "value": [_plain(asdict(account)) for account in settings.accounts]}
        elif name == "bindings":
            yield {"key": "subscribers of aftercall.toml", "value": settings.bindings}
        else:
            yield {"key": f"AFTERCALL_{name.upper()}", "value": _masked(value)}


def _plain(account: dict[str, Any]) -> dict[str, Any]:
    return {key: asdict(value) if key == "hmac" else _masked(value) for key, value in account.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, Secret):
        return Secret.MASK if value else ""
    return value


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
