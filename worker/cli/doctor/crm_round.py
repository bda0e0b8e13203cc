"""The doctor's round of the CRM: whether HubSpot takes each account's token, and has what is to be written."""

import asyncio
from collections.abc import Iterator

from worker.clients.hubspot.examine import Examined, examine
from worker.clients.hubspot.keys import not_unique
from worker.clients.vapi import vapi_session
from worker.operate.doctor import Finding
from worker.settings import Account, Settings
from worker.settings.fields import key_of


async def crm_round(settings: Settings) -> list[Finding]:
    """Ask HubSpot about each account; nothing if the CRM is not in use."""
    accounts = [account for account in settings.accounts if account.crm_token]
    if "crm" not in settings.subscribers or not accounts:
        return []
    async with vapi_session(len(accounts)) as http:
        examined = await asyncio.gather(*(examine(account, http, settings) for account in accounts))
    seen = dict(zip((account.name for account in accounts), examined, strict=True))
    return [finding for account in settings.accounts for finding in _of_account(account, seen.get(account.name))]


def _of_account(account: Account, seen: Examined | None) -> Iterator[Finding]:
    check, key = f"crm {account.name}", key_of(account.name, "CRM_TOKEN")
    if seen is None:
        yield Finding(check, "warn", "no token: its calls are not logged", f"set {key}, if they are to be")
    elif seen.trouble:
        yield Finding(check, "fail", seen.trouble, f"check {key}, and the scopes of its private app or service key")
    else:
        yield Finding(check, "ok", "HubSpot takes the token")
        yield from _of_properties(check, seen)


def _of_properties(check: str, seen: Examined) -> Iterator[Finding]:
    for unique in seen.to_be_made:
        scope = f"crm.schemas.{unique.kind}.write"
        told = f"HubSpot has no property {unique.name} of {unique.kind} yet"
        yield Finding(check, "warn", told, f"the first call makes it, if the token has the scope {scope}")
    for unique in seen.not_unique:
        yield Finding(check, "fail", not_unique(unique), f"{unique.setting} in [crm]")
    if seen.unknown:
        told = f"HubSpot has no property {', '.join(seen.unknown)}: each call that has a value for it is refused"
        yield Finding(check, "fail", told, "make it in HubSpot, or correct the mapping in [crm]")
