"""The doctor's rounds: each asks one party, within its time, and makes findings of the answers or of their absence."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

from consumers.messages import UNROUTED
from worker.broker.comparing import compared
from worker.broker.counts import Count, counts
from worker.broker.dial import dial, where
from worker.broker.management import vhost_of
from worker.broker.reach import BrokerAway, reached
from worker.broker.rights import DECLARE, refused_rights
from worker.broker.session import explain
from worker.broker.topology import enrich_queue, subscriber_queue, topology_of
from worker.broker.users import users_of
from worker.clients.vapi import vapi_session
from worker.clients.vapi_account import Answer, ask, ask_url
from worker.ingress.spool.look import Waiting, room_in, waiting_in
from worker.ingress.spool.writer import SpoolFailed
from worker.operate.doctor import (
    Depth,
    Finding,
    Reached,
    of_consumers,
    of_dead,
    of_guest,
    of_key,
    of_nodes,
    of_public_url,
    of_rights,
    of_spool,
    of_topology,
)
from worker.operate.sender import PATHS, Here, Kind, Sender, of_senders, read_senders
from worker.settings import Account, Settings
from worker.settings.fields import DEFAULT_ACCOUNT, key_of
from worker.settings.guests import GUEST, guest_abroad

ROUND_S: Final = 10.0
MANAGEMENT_S: Final = 7.0
NODE_S: Final = 4.0
LISTED: Final = 100
"""What Vapi lists of assistants and numbers by default."""
LISTS: Final[Mapping[Kind, str]] = {
    "assistant": f"/assistant?limit={LISTED}",
    "phone number": f"/phone-number?limit={LISTED}",
    "organisation": "/org",
}


class Sent(msgspec.Struct, frozen=True):
    """What Vapi told: findings, our clock minus its (s), and the trouble of each account that it does not serve."""

    findings: list[Finding]
    skews_s: list[float]
    failing: Mapping[str, str]


async def vapi_round(settings: Settings, public_url: str) -> Sent:
    """Ask Vapi about each account."""
    rounds = await asyncio.gather(*(_account_round(account, settings, public_url) for account in settings.accounts))
    return Sent(
        [finding for each in rounds for finding in each.findings],
        [skew_s for each in rounds for skew_s in each.skews_s],
        {name: trouble for each in rounds for name, trouble in each.failing.items()},
    )


async def _account_round(account: Account, settings: Settings, public_url: str) -> Sent:
    key = key_of(account.name, "VAPI_API_KEY")
    if not account.vapi_api_key:
        unset = Finding(f"vapi key {account.name}", "fail", "not set", f"set {key} to the organisation's private key")
        return Sent([unset], [], {account.name: "no key"})
    async with vapi_session(4) as http:
        answers = await asyncio.gather(*(ask(account, http, path) for path in ("/call?limit=1", *LISTS.values())))
    taken, *lists = answers
    finding = of_key(account.name, taken.status, taken.trouble, key=key)
    skews_s = [] if taken.skew_s is None else [taken.skew_s]
    if finding.status != "ok":
        return Sent([finding], skews_s, {account.name: finding.detail})
    here = _here(account, settings, public_url)
    return Sent([finding, *_of_lists(dict(zip(LISTS, lists, strict=True)), here)], skews_s, {})


def _here(account: Account, settings: Settings, public_url: str) -> Here:
    paths = {each.name: _paths(each.name) for each in settings.accounts}
    own = paths.pop(account.name)
    return Here(
        account=account.name,
        paths=own,
        others=tuple(path for each in paths.values() for path in each),
        public_url=_public_url_of(account.name, public_url),
        base_url=account.vapi_root,
        key=key_of(account.name, "VAPI_API_KEY"),
        is_insecure=account.is_insecure,
        takes_any_address=not settings.webhook_allow,
    )


def _paths(account: str) -> tuple[str, ...]:
    path = f"/webhooks/vapi/{account}"
    return ("/webhooks/vapi", path) if account == DEFAULT_ACCOUNT else (path,)


def _public_url_of(account: str, public_url: str) -> str:
    """The address of an account's endpoint, from that of the installation or of the default account's endpoint."""
    base = public_url.rstrip("/").removesuffix("/webhooks/vapi")
    return base + _paths(account)[0] if public_url else ""


def _of_lists(lists: Mapping[Kind, Answer], here: Here) -> list[Finding]:
    senders: list[Sender] = []
    findings: list[Finding] = []
    for kind, answer in lists.items():
        if answer.status != 200:  # noqa: PLR2004
            findings.append(_not_checked(kind, answer, here))
            continue
        found = read_senders(kind, answer.body)
        senders += found
        if len(found) >= LISTED:
            told = f"only {LISTED} of the {PATHS[kind]}s are looked at: Vapi lists no more at once"
            findings.append(Finding(f"sender {here.account}", "warn", told, "look at the others in the dashboard"))
    return [*of_senders(senders, here), *findings]


def _not_checked(kind: Kind, answer: Answer, here: Here) -> Finding:
    if answer.status in (401, 403, 404):
        why = f"the key does not allow it ({answer.status})"
    else:
        why = answer.trouble or f"Vapi answers {answer.status}"
    mend = f"look at its server URL, credential and serverMessages in the dashboard: {here.wanted_url} is ours"
    return Finding(f"sender {here.account}", "warn", f"{kind} not checked: {why}", mend)


async def broker_round(settings: Settings, vapi: Awaitable[Sent]) -> list[Finding]:
    """Look at the broker, through every address and, where there is one, the management API."""
    nodes = await asyncio.gather(*map(_node, settings.amqp_url.each()))
    findings = list(of_nodes(nodes))
    if all(node.trouble for node in nodes):
        return findings
    comparing = asyncio.ensure_future(_topology(settings))
    try:
        async with asyncio.timeout(ROUND_S), reached(settings.amqp_url) as connection:
            findings += [await _rights(connection, settings), *of_guest(guest_abroad(settings.amqp_url))]
            topology = topology_of(settings)
            found = await counts(connection, (queue.name for queue in topology.queues))
    except (BrokerAway, TimeoutError) as error:
        findings.append(Finding("broker", "fail", f"it went away: {error or 'no answer in time'}", "see its log"))
        found = {}
    findings += await comparing
    return [*findings, *_of_queues(settings, found, (await vapi).failing)]


async def _node(url: str) -> Reached:
    try:
        async with asyncio.timeout(NODE_S):
            connection = await dial(url, "doctor")
    except (AMQPError, OSError) as error:
        return Reached(where(url), trouble=explain(error))
    properties = getattr(getattr(connection.transport, "connection", None), "server_properties", None) or {}
    with suppress(Exception):
        async with asyncio.timeout(NODE_S):
            await connection.close()
    return Reached(where(url), version=str(properties.get("version", "")))


async def _rights(connection: AbstractConnection, settings: Settings) -> Finding:
    amqp = URL(settings.amqp_url.each()[0])
    topology, name = topology_of(settings), amqp.user or GUEST
    role = next((user for user in users_of(topology).values() if user.name == name), None)
    refused = await refused_rights(connection, topology, role)
    may_lack = [DECLARE] if settings.topology == "check" else []
    return of_rights(refused, user=name, vhost=vhost_of(amqp), may_lack=may_lack, role=role.role if role else "")


async def _topology(settings: Settings) -> list[Finding]:
    try:
        async with asyncio.timeout(ROUND_S):
            comparison = await compared(settings, within_s=MANAGEMENT_S)
    except (BrokerAway, TimeoutError):
        return [Finding("topology", "fail", "not compared: the broker does not answer", "aftercall topology check")]
    return list(of_topology(comparison.differences, comparison.not_compared, comparison.mend))


def _of_queues(settings: Settings, found: Mapping[str, Count], failing: Mapping[str, str]) -> list[Finding]:
    """What is missing is in neither list: the topology's findings name it."""
    consumed = [queue.name for queue in topology_of(settings).queues if queue.is_consumed]
    depths = {name: Depth(name, count.ready, count.consumers) for name, count in found.items()}
    keeping = [each for name, each in depths.items() if name.endswith(".dead") or name == UNROUTED]
    lonely = of_consumers(
        [depths[name] for name in consumed if name in depths], paused=failing, commands=_commands(settings)
    )
    return [*lonely, *of_dead(keeping)]


def _commands(settings: Settings) -> dict[str, str]:
    commands = {enrich_queue(account.name): "aftercall consume enrich" for account in settings.accounts}
    return commands | {subscriber_queue(name): f"aftercall consume {name}" for name in settings.subscribers}


async def spool_round(settings: Settings) -> list[Finding]:
    """Look at the spool of this machine."""
    folder = Path(settings.spool_dir)
    room = await asyncio.to_thread(room_in, folder)
    try:
        waiting = await asyncio.to_thread(waiting_in, folder)
    except SpoolFailed as error:
        return list(of_spool(str(folder), str(error), is_made=room.is_made))
    return list(_of_spool(folder, room.trouble, waiting, is_made=room.is_made))


def _of_spool(folder: Path, trouble: str, waiting: Waiting, *, is_made: bool) -> Sequence[Finding]:
    return list(of_spool(str(folder), trouble, is_made=is_made, waiting=waiting.waiting, aside=waiting.aside))


async def url_round(settings: Settings, public_url: str) -> list[Finding]:
    """Ask the endpoint at its public address, if that was said."""
    if not public_url:
        return []
    findings = []
    async with aiohttp.ClientSession() as http:
        for account in settings.accounts:
            url = _public_url_of(account.name, public_url)
            answer = await ask_url(http, URL(url))
            findings.append(of_public_url(url, answer.status, answer.trouble))
    return findings
