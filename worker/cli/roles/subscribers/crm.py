"""The parts of `crm`: a client of HubSpot for each account that has a token, and the consumer that logs calls there."""

from collections.abc import Mapping
from typing import Final

from consumers.crm.hubspot import Desk
from consumers.crm.log_call import Logged, log_call
from consumers.enriched import EnrichedCall
from consumers.messages import Delivery
from worker.cli.roles.subscribers.subscriber import Act, subscribe
from worker.cli.running.process import Process
from worker.clients.hubspot.client import HubSpotClient
from worker.clients.numbers import PhoneNumbers
from worker.clients.vapi import vapi_session
from worker.operate.telemetry import CRM_CALLS, logger

UNSET: Final = "unset"


async def start_crm(process: Process) -> None:
    """Log the calls of every account that has a token; those of the others are let go, and counted.

    Raises `SettingsError` if the library for telephone numbers is missing, or the region is none.
    """
    settings = process.settings
    numbers = PhoneNumbers(settings.crm.region)
    clients: dict[str, HubSpotClient] = {}
    for account in filter(lambda each: each.crm_token, settings.accounts):
        http = await process.stack.enter_async_context(vapi_session(settings.prefetch))
        clients[account.name] = HubSpotClient(account, http, settings)
        process.run(clients[account.name].breaker.run(), f"HubSpot's breaker of {account.name}")
    if without := [each.name for each in settings.accounts if each.name not in clients]:
        logger().warning("crm.unset", accounts=without, detail="their calls are not logged: they have no CRM_TOKEN")
    desks = {name: Desk(settings.crm, numbers, client) for name, client in clients.items()}
    await subscribe(process, "crm", _acting(desks, clients))


def _acting(desks: Mapping[str, Desk], clients: Mapping[str, HubSpotClient]) -> Act:
    async def act(call: EnrichedCall, _delivery: Delivery, memo: str) -> str:
        if call.account not in clients:
            CRM_CALLS.labels(call.account, UNSET).inc()
            return memo
        async with clients[call.account].in_time():
            logged = await log_call(call, memo, desks[call.account])
        _tell(call, logged)
        return logged.memo

    return act


def _tell(call: EnrichedCall, logged: Logged) -> None:
    CRM_CALLS.labels(call.account, logged.verdict).inc()
    logger().info(
        "call.logged",
        account=call.account,
        call_id=call.call_id,
        verdict=logged.verdict,
        engagement=logged.engagement,
        contact=logged.match.id,
        found_by=logged.match.by,
        matches=logged.match.among,
    )
