"""Reads the settings: environment over `aftercall.toml`, files for secrets, every problem reported at once."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import FieldInfo, fields, replace

from worker.settings.checks import check
from worker.settings.expected import expected
from worker.settings.fields import (
    ACCOUNTS,
    DEFAULT_ACCOUNT,
    EVERY_CALL,
    PREFIX,
    SECTIONS,
    SUBSCRIBERS,
    Account,
    HmacPlan,
    Settings,
    key_of,
)
from worker.settings.secret import Secret
from worker.settings.sections import File, take_sections

NAME: Final = re.compile(r"[a-z0-9-]{1,40}")
RESERVED: Final = {*SUBSCRIBERS, "enrich", "retry", "dead", "requeue", "unrouted", "webhook"}
NAME_TAKEN: Final = "the name is taken, or not 1 to 40 of a-z, 0-9 and -"
BINDING: Final = re.compile(r"(call|#|\*)(\.([A-Za-z0-9_-]+|#|\*))*")
# Kubernetes injects these for every Service in the namespace unless `enableServiceLinks` is false.
SERVICE_LINK: Final = re.compile(r"AFTERCALL_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)")
FIELDS: Final[dict[str, FieldInfo]] = {
    f"{PREFIX}{field.name.upper()}": field
    for field in fields(Settings)
    if field.name not in ("accounts", "bindings", "given", *SECTIONS)
}
FROM_KUBERNETES: Final = (
    "Kubernetes set it for a Service of that name: put `enableServiceLinks: false` into the pod's spec"
)
ACCOUNT_FIELDS: Final = (
    *("VAPI_API_KEY", "VAPI_BASE_URL", "VAPI_RATE", "WEBHOOK_SECRETS", "WEBHOOK_AUTH", "ARCHIVE_KEEP_S", "CRM_TOKEN"),
)
OWN_TO_AN_ACCOUNT: Final = ("vapi_api_key", "webhook_secrets", "crm_token")


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
    bindings = _bindings(document.pop("subscribers", {}), problems)
    tables = take_sections(document, file)
    given = _over(_from_toml(document, file), _from_environment(environ))
    given = _follow_files(given, problems)
    plain = _convert(given, problems)
    accounts = _accounts(plain, _grouped_by_account(given, problems), problems)
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
    if not _is_free(name):
        raise ValueError(NAME_TAKEN)
    return replace(settings, bindings={name: EVERY_CALL} | settings.bindings)


def _is_free(name: str) -> bool:
    return NAME.fullmatch(name) is not None and name not in RESERVED


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
            _into(values, field, key, value, problems)
    return values


def _why_not(key: str, value: Any) -> str:
    return f": {FROM_KUBERNETES}" if str(value).startswith("tcp://") else _nearest(key)


def _into(values: dict[str, Any], field: FieldInfo, key: str, value: Any, problems: list[str]) -> None:
    try:
        values[field.name] = _typed(field, value)
    except (msgspec.ValidationError, ValueError):
        problems.append(f"{key}: {_explain(field, value)}")


def _typed(field: FieldInfo, value: Any) -> Any:
    if isinstance(field.default, Secret):
        return value if isinstance(value, Secret) else Secret(str(value))
    text = value.reveal() if isinstance(value, Secret) else value
    if isinstance(field.default, tuple) and isinstance(text, str):
        text = [part for part in map(str.strip, text.split(",")) if part]
    return msgspec.convert(text, field.type, strict=False)


def _explain(field: FieldInfo, value: Any) -> str:
    if str(value).startswith("tcp://"):
        return FROM_KUBERNETES
    given = "what its file holds" if isinstance(value, Secret) else repr(str(value))
    return f"{given} is not {expected(field.type)}"


def _nearest(key: str) -> str:
    import difflib  # noqa: PLC0415  # only on the way to an error

    # Without what is common to all, which would make anything look near.
    near = difflib.get_close_matches(key.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in FIELDS], n=1)
    return f": did you mean {PREFIX}{near[0]}?" if near else ": `aftercall config` lists them"


def _grouped_by_account(given: dict[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
    """`AFTERCALL_ACCOUNTS__ACME_DENTAL__VAPI_API_KEY` is the field VAPI_API_KEY of `acme-dental`."""
    groups: dict[str, dict[str, Any]] = {}
    for key in filter(lambda key: key.startswith(ACCOUNTS), given):
        name, _, field = key.removeprefix(ACCOUNTS).partition("__")
        name = name.lower().replace("_", "-")
        if not NAME.fullmatch(name) or name == DEFAULT_ACCOUNT:
            problems.append(f"{key}: an account's name is 1 to 40 of a-z, 0-9 and -, and not `default`")
        elif field not in ACCOUNT_FIELDS and not field.startswith("WEBHOOK_HMAC_"):
            problems.append(f"{key}: an account has {', '.join(ACCOUNT_FIELDS)} and WEBHOOK_HMAC_…")
        else:
            groups.setdefault(name, {})[field] = given[key]
    return groups


def _accounts(plain: dict[str, Any], groups: dict[str, dict[str, Any]], problems: list[str]) -> tuple[Account, ...]:
    """The default account, unless only further ones are configured, and the further ones.

    What an account does not set it has from the plain keys, but for its key and secrets, which are its own.
    """
    accounts = []
    if not groups or any(plain.get(name) for name in OWN_TO_AN_ACCOUNT):
        accounts.append(_account(DEFAULT_ACCOUNT, plain))
    for name, group in sorted(groups.items()):
        inherited = {key: value for key, value in plain.items() if key not in OWN_TO_AN_ACCOUNT}
        for field, value in group.items():
            known = FIELDS.get(PREFIX + field)
            if known is None:
                problems.append(f"{key_of(name, field)} is not a setting{_nearest(PREFIX + field)}")
            else:
                _into(inherited, known, key_of(name, field), value, problems)
        accounts.append(_account(name, inherited))
    return tuple(accounts)


def _account(name: str, values: dict[str, Any]) -> Account:
    def value(field: str) -> Any:
        return values.get(field, FIELDS[PREFIX + field.upper()].default)

    hmac = {field.name: value(f"webhook_hmac_{field.name}") for field in fields(HmacPlan)}
    named = {field.lower(): value(field.lower()) for field in ACCOUNT_FIELDS}
    return Account(name=name, hmac=HmacPlan(**hmac), **named)


def _bindings(tables: Any, problems: list[str]) -> dict[str, tuple[str, ...]]:
    """The `[subscribers.<name>]` tables: each a queue `calls.<name>` bound to its patterns."""
    result: dict[str, tuple[str, ...]] = {}
    if not isinstance(tables, dict):
        problems.append("aftercall.toml: subscribers are tables, [subscribers.<name>]")
        return result
    for name, table in tables.items():
        patterns = table.get("bindings", [*EVERY_CALL]) if isinstance(table, dict) else None
        if not _is_free(name):
            problems.append(f"[subscribers.{name}]: {NAME_TAKEN}")
        elif isinstance(table, dict) and (unknown := sorted(table.keys() - {"bindings"})):
            problems.append(f"[subscribers.{name}]: {', '.join(unknown)}: the one key there is bindings")
        elif not (isinstance(patterns, list) and patterns and all(map(_is_binding, patterns))):
            problems.append(f'[subscribers.{name}]: bindings is a list of patterns such as ["call.enriched.#"]')
        elif ended := [pattern for pattern in patterns if _catches_notifications(pattern)]:
            # With a second binding a missing enricher's queue would go unnoticed: the notification would be routed.
            problems.append(
                f"[subscribers.{name}]: {', '.join(ended)} takes call.ended too, which is the enricher's alone"
            )
        else:
            result[name] = tuple(patterns)
    return result


def _catches_notifications(pattern: str) -> bool:
    first, *rest = pattern.split(".")
    return first == "#" or (bool(rest) and rest[0] in ("ended", "*", "#"))


def _is_binding(pattern: Any) -> bool:
    return isinstance(pattern, str) and BINDING.fullmatch(pattern) is not None
