"""Reads the settings: environment over `aftercall.toml`, files for secrets, every problem reported at once."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from worker.settings.accounts import accounts_of, grouped_by_account
from worker.settings.bindings import NAME_TAKEN, bindings_in, is_free
from worker.settings.checks import check
from worker.settings.fields import ACCOUNTS, EVERY_CALL, PREFIX, SECTIONS, Settings, key_of
from worker.settings.secret import Secret
from worker.settings.sections import File, take_sections
from worker.settings.values import FIELDS, FROM_KUBERNETES, nearest, put

# Kubernetes injects these for every Service in the namespace unless `enableServiceLinks` is false.
SERVICE_LINK: Final = re.compile(r"AFTERCALL_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)")


class SettingsError(Exception):
    """The settings cannot be used; `problems` says why, a sentence each, naming the key and the mend."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def load(environ: Mapping[str, str], folder: Path = Path()) -> Settings:
    """The settings of `environ` over those of `aftercall.toml` (in `folder`, or where `AFTERCALL_CONFIG` says).

    Raises `SettingsError` with every problem found.
    """
    problems: list[str] = []
    document, file = _read_toml(environ, folder, problems)
    bindings = bindings_in(document.pop("subscribers", {}), problems)
    tables = take_sections(document, file)
    given = _over(_from_toml(document, file), _from_environment(environ))
    given = _follow_files(given, problems)
    plain = _convert(given, problems)
    accounts = accounts_of(plain, grouped_by_account(given, problems), problems)
    problems += check({**plain, **tables}, accounts)
    if problems:
        raise SettingsError(problems)
    return Settings(**plain, **tables, accounts=accounts, bindings=bindings, given=frozenset(plain))


def require(settings: Settings, *, webhook: bool = False, vapi: bool = False) -> None:
    """Raise `SettingsError` unless every account has what the endpoint, or fetching from Vapi, needs."""
    problems: list[str] = []
    for account in settings.accounts:
        if webhook and not account.webhook_secrets.each():
            hint = "set the secret that Vapi sends, or `insecure` to accept anything from anyone"
            problems.append(f"{key_of(account.name, 'WEBHOOK_SECRETS')} {account.webhook_secrets.unset}: {hint}")
        if vapi and not account.vapi_api_key:
            key, unset = key_of(account.name, "VAPI_API_KEY"), account.vapi_api_key.unset
            problems.append(f"{key} {unset}: it is the private key of your account")
    if problems:
        raise SettingsError(problems)


def with_queue(settings: Settings, name: str) -> Settings:
    """The settings with a queue for a subscriber of that name, bound to every call unless the file binds it otherwise.

    Raises `ValueError` for a name that cannot be one.
    """
    if not is_free(name):
        raise ValueError(NAME_TAKEN)
    return replace(settings, bindings={name: EVERY_CALL} | settings.bindings)


def _read_toml(environ: Mapping[str, str], folder: Path, problems: list[str]) -> tuple[dict[str, Any], File]:
    named = environ.get("AFTERCALL_CONFIG", "")
    path = Path(named) if named else folder / "aftercall.toml"
    if not named and not path.exists():
        return {}, File(str(path), "", problems)
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), File(path.name, text, problems)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{path} cannot be read: {_why(error)}")
        return {}, File(path.name, "", problems)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _from_toml(document: dict[str, Any], file: File) -> dict[str, Any]:
    given = {}
    for key, value in document.items():
        if key.startswith(PREFIX):
            given[key] = ",".join(map(str, value)) if isinstance(value, list) else value
        else:
            tables = ", ".join(f"[{name}]" for name in (*SECTIONS, "subscribers.<name>"))
            file.complain((key,), f"unknown key: there are the AFTERCALL_ ones, and the tables {tables}")
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Ours among the variables; an empty one counts as not set, as Compose files leave them."""
    return {
        key: value
        for key, value in environ.items()
        if key.startswith(PREFIX) and value != "" and key != "AFTERCALL_CONFIG" and not _is_service_link(key)
    }


def _over(file: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    """What the environment says, and what it leaves to the file; `<KEY>` and `<KEY>_FILE` are one setting."""
    said = {key.removesuffix("_FILE") for key in environment}
    return {key: value for key, value in file.items() if key.removesuffix("_FILE") not in said} | environment


def _is_service_link(key: str) -> bool:
    return key not in FIELDS and SERVICE_LINK.fullmatch(key) is not None


def _follow_files(given: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Replace each `<KEY>_FILE` by a secret that reads the file."""
    result = {key: value for key, value in given.items() if not key.endswith("_FILE")}
    for key in given.keys() - result.keys():
        target = key.removesuffix("_FILE")
        try:
            result[target] = Secret(path=str(given[key]))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{key}: {given[key]} cannot be read: {_why(error)}")
        if target in given:
            problems.append(f"{key} and {target} are both set: keep one")
    return result


def _convert(given: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The plain settings, each converted to its type."""
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key.startswith(ACCOUNTS):
            continue
        if (field := FIELDS.get(key)) is None:
            problems.append(f"{key} is not a setting{_why_not(key, value)}")
        else:
            put(values, field, key, value, problems)
    return values


def _why_not(key: str, value: Any) -> str:
    return f": {FROM_KUBERNETES}" if str(value).startswith("tcp://") else nearest(key)
