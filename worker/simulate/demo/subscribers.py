"""What each subscriber of the demo has in the end, asked of where it has it: databases, HubSpot, the targets."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
import orjson

from consumers.postcall import WantedCalls
from worker.clients.archive.archive import open_archive
from worker.clients.ledger.ledger import open_ledger
from worker.settings import Settings


class Places(msgspec.Struct, frozen=True):
    """Where the demo's parts are: addresses of the simulated Vapi, HubSpot and target, and the folder of its files."""

    vapi: str
    hubspot: str
    target: str
    folder: str


class Reached(msgspec.Struct, frozen=True):
    """The calls that a subscriber was to have and has, how often it had one twice, and what there is to say of it."""

    wanted: set[str]
    has: set[str]
    doubled: int = 0
    told: str = ""


async def reached(settings: Settings, places: Places, enriched: set[str], since: float) -> Mapping[str, Reached]:
    """What each subscriber has of the enriched calls; the alerts are asked for in what they told since an instant."""
    async with aiohttp.ClientSession() as http:
        crm = await _json(http, f"{places.hubspot}/_simulate/account")
        posts = await _json(http, f"{places.target}/_simulate/received")
    return {
        "ledger": Reached(enriched, await _in_the_ledger(settings, enriched, since)),
        "postcall": Reached(enriched, await _in_the_archive(settings)),
        "crm": _in_the_crm(settings, crm, enriched),
        "forward": _at_the_target(posts, enriched),
        "alerts": _alerts(posts),
    }


async def _json(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as answer:
        return orjson.loads(await answer.read())


async def _in_the_ledger(settings: Settings, enriched: set[str], now: float) -> set[str]:
    async with open_ledger(settings) as ledger:
        return set(await ledger.standings("default", enriched, now))


async def _in_the_archive(settings: Settings) -> set[str]:
    async with open_archive(settings) as archive:
        return {row.call_id async for row in archive.calls(WantedCalls())}


def _in_the_crm(settings: Settings, crm: Mapping[str, Any], enriched: set[str]) -> Reached:
    engagements = Counter(each["properties"].get(settings.crm.call_key) for each in crm["calls"])
    told = f"{len(crm['contacts'])} contacts"
    return Reached(enriched, set(engagements), sum(engagements.values()) - len(engagements), told)


def _at_the_target(posts: list[dict[str, Any]], enriched: set[str]) -> Reached:
    forwarded = [post for post in posts if post["path"].startswith("/calls")]
    events = Counter(post["headers"]["webhook-id"] for post in forwarded)
    has = {orjson.loads(post["body"])["callId"] for post in forwarded}
    return Reached(enriched, has, sum(events.values()) - len(events), f"{len(events)} events, each signed")


def _alerts(posts: list[dict[str, Any]]) -> Reached:
    """Alerts tell of groups of calls: what there is to count are messages."""
    told = [post for post in posts if post["path"].startswith("/alerts")]
    titles = [orjson.loads(post["body"])["title"] for post in told]
    return Reached({"a message"}, {"a message"} if told else set(), told="; ".join(titles))
