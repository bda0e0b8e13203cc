"""`aftercall doctor`: asks all that an installation rests on, and shows what is wrong with it and how to mend it."""

import asyncio
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from worker.cli.doctor.crm_round import crm_round
from worker.cli.doctor.database_rounds import database_rounds
from worker.cli.doctor.rounds import broker_round, spool_round, url_round, vapi_round
from worker.cli.exit_codes import DONE, FOUND, WrongArguments
from worker.cli.output import Format, print_json, say
from worker.operate.doctor import Finding, of_clock, of_secret
from worker.settings import Settings, load
from worker.settings.fields import key_of

MARKS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


async def doctor(*, public_url: str = "", output: Format = "text") -> int:
    """Check everything an installation needs, at the broker, on this machine and at Vapi, with the mend of each.

    Example: aftercall doctor --public-url https://aftercall.example.com/webhooks/vapi

    Nothing is changed. What is asked: the broker (version, rights, topology, consumers, dead letters), the spool and
    the clock of this machine, the ledger, the archive, if calls are kept, and Vapi: whether it takes each account's
    key, and how the assistants and numbers are set that post to us; and HubSpot, if calls are logged there. Exits 1 if
    anything fails; warnings alone are 0.

    Parameters
    ----------
    public_url
        The address of the endpoint as Vapi is to have it; without it only the path of server URLs is compared.

    """
    settings = load(os.environ)
    if public_url and not public_url.startswith(("https://", "http://")):
        raise WrongArguments(f"--public-url {public_url}: it reads https://aftercall.example.com/webhooks/vapi")
    findings = await examine(settings, public_url)
    if output == "json":
        print_json(msgspec.to_builtins(findings))
    else:
        sys.stdout.writelines(_lines(findings))
        say(_verdict(findings))
    return FOUND if any(finding.status == "fail" for finding in findings) else DONE


async def examine(settings: Settings, public_url: str) -> list[Finding]:
    """All findings, asked for at once, in the order of the way of a call."""
    vapi = asyncio.ensure_future(vapi_round(settings, public_url))
    sent, at_broker, at_spool, in_databases, public, in_crm = await asyncio.gather(
        vapi,
        broker_round(settings, vapi),
        spool_round(settings),
        database_rounds(settings),
        url_round(settings, public_url),
        crm_round(settings),
    )
    return [
        *at_broker,
        *at_spool,
        *in_databases,
        of_clock(sent.skews_s, _tolerance_s(settings)),
        *_secrets(settings),
        *sent.findings,
        *public,
        *in_crm,
    ]


def _tolerance_s(settings: Settings) -> float:
    """How far off this clock may be before some account's webhooks are refused."""
    plans = [each.hmac for each in settings.accounts if each.webhook_auth == "hmac" and not each.is_insecure]
    return min((plan.tolerance_s for plan in plans if plan.include_timestamp), default=math.inf)


def _secrets(settings: Settings) -> Iterator[Finding]:
    for account in settings.accounts:
        is_set = bool(account.webhook_secrets.each())
        key = key_of(account.name, "WEBHOOK_SECRETS")
        yield of_secret(account.name, is_set=is_set, is_insecure=account.is_insecure, key=key)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        yield f"{MARKS[finding.status]}  {finding.check:<{width}}  {finding.detail}\n"
        if finding.mend and finding.status != "ok":
            yield f"{'':{width + 8}}mend: {finding.mend}\n"


def _verdict(findings: Iterable[Finding]) -> str:
    statuses = [finding.status for finding in findings]
    failures, warnings = statuses.count("fail"), statuses.count("warn")
    if not failures and not warnings:
        return "All is well."
    return f"{_many(failures, 'failure')}, {_many(warnings, 'warning')}."


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
