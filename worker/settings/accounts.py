"""The accounts: what each has of its own, and what it has from the plain keys."""

from typing import Any, Final

from msgspec.structs import fields

from worker.settings.fields import ACCOUNTS, DEFAULT_ACCOUNT, NAME, PREFIX, Account, HmacPlan, key_of
from worker.settings.values import FIELDS, nearest, put

ACCOUNT_FIELDS: Final = (
    *("VAPI_API_KEY", "VAPI_BASE_URL", "VAPI_RATE", "WEBHOOK_SECRETS", "WEBHOOK_AUTH", "ARCHIVE_KEEP_S", "CRM_TOKEN"),
)
OWN_TO_AN_ACCOUNT: Final = ("vapi_api_key", "webhook_secrets", "crm_token")


def grouped_by_account(given: dict[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
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


def accounts_of(plain: dict[str, Any], groups: dict[str, dict[str, Any]], problems: list[str]) -> tuple[Account, ...]:
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
                problems.append(f"{key_of(name, field)} is not a setting{nearest(PREFIX + field)}")
            else:
                put(inherited, known, key_of(name, field), value, problems)
        accounts.append(_account(name, inherited))
    return tuple(accounts)


def _account(name: str, values: dict[str, Any]) -> Account:
    def value(field: str) -> Any:
        return values.get(field, FIELDS[PREFIX + field.upper()].default)

    hmac = {field.name: value(f"webhook_hmac_{field.name}") for field in fields(HmacPlan)}
    named = {field.lower(): value(field.lower()) for field in ACCOUNT_FIELDS}
    return Account(name=name, hmac=HmacPlan(**hmac), **named)
