"""`aftercall config`: what the settings come to."""

import os
import sys
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import asdict

from worker.cli.arguments import Flag
from worker.cli.output import Format, print_json, print_rows
from worker.settings import Account, Secret, Settings, load, without_passwords
from worker.settings.accounts import ACCOUNT_FIELDS
from worker.settings.fields import DEFAULT_ACCOUNT, PREFIX, key_of
from worker.settings.values import FIELDS

Row = tuple[str, Any]


def config(*, reference: Flag = False, output: Format = "text") -> None:
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
    rows = dict(rows_of(load(os.environ)))
    if output == "json":
        print_json(rows)
    else:
        print_rows([{"key": key, "value": _text(value)} for key, value in rows.items()], output)


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


def rows_of(settings: Settings) -> Iterator[Row]:
    """Each setting under the key that sets it, as JSON has it; those of further accounts, and the tables, come last."""
    values = asdict(settings)
    accounts, bindings, _ = (values.pop(name) for name in ("accounts", "bindings", "given"))
    keys = {name: f"{PREFIX}{name.upper()}" for name in values}
    yield from ((keys[name], _shown(name, value)) for name, value in values.items() if keys[name] in FIELDS)
    for account in accounts:
        if account.name != DEFAULT_ACCOUNT:  # whose settings are the plain ones
            yield from _of_account(account)
    yield from _flat("subscribers", {name: {"bindings": patterns} for name, patterns in bindings.items()})
    tables = {name: value for name, value in values.items() if keys[name] not in FIELDS}
    for name, table in tables.items():
        yield from _flat(name, msgspec.to_builtins(table, enc_hook=_masked))


def _flat(key: str, value: Any) -> Iterator[Row]:
    """A table of `aftercall.toml` as its dotted keys, each a row."""
    if not isinstance(value, dict):
        yield key, _host_of(value) if key.endswith(".url") else value
        return
    for name, each in value.items():
        yield from _flat(f"{key}.{name}", each)


def _host_of(url: str) -> str:
    """A target's address without its path: whoever knows that may post there."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}/" + Secret.MASK * (len(parts.path + parts.query) > 1)


def _of_account(account: Account) -> Iterator[Row]:
    values = {name: getattr(account, name.lower()) for name in ACCOUNT_FIELDS}
    if account.webhook_auth == "hmac":
        values |= {f"WEBHOOK_HMAC_{name.upper()}": value for name, value in asdict(account.hmac).items()}
    yield from ((key_of(account.name, name), _shown(name.lower(), value)) for name, value in values.items())


def _shown(name: str, value: Any) -> Any:
    """A value as it may be shown: of an address all but its password."""
    if name.endswith("_url"):
        return without_passwords(value.reveal() if isinstance(value, Secret) else value)
    return _masked(value) if isinstance(value, Secret) else value


def _masked(secret: Secret) -> str:
    return Secret.MASK if secret else ""


def _text(value: Any) -> str:
    """A value as it stands in the environment."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case [*_, dict()]:
            return msgspec.json.encode(value).decode()
        case tuple() | list():
            return ",".join(map(str, value))
        case None:
            return ""
        case _:
            return str(value)
