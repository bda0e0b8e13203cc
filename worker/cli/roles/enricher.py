"""The enricher's parts: for each account a consumer of its queue, with the account's key and rate."""

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import Final, get_args

from consumers.drift import drift_of
from consumers.enrich import IsKnown, Policy, enrich
from consumers.enriched import EnrichedCall
from consumers.merge import Source
from consumers.messages import Delivery, Message, journey_of
from consumers.notifications import read_notification
from consumers.outcomes import DatabaseAway
from consumers.redaction import redactor
from consumers.timestamps import instant
from worker.broker.deliver import Handle
from worker.broker.topology import enrich_queue
from worker.cli.running.process import Process
from worker.clients.breaker import Breaker
from worker.clients.vapi import VapiClient
from worker.operate.telemetry import CALL_END_TO_EMIT_SECONDS, CALL_END_TO_RECEIPT_SECONDS, DRIFT, at_zero
from worker.operate.turns import Turns

IN_HAND_MAX_S: Final = 10.0
KNOWN_MAX_S: Final = 10.0
"""What both leave of the client's deadline is enough for a fetch, if Vapi comes back meanwhile."""
EMITTED: Final = ("enriched", "amended")


async def start_enricher(process: Process) -> None:
    """Enrich the calls of every account."""
    settings = process.settings
    at_zero(CALL_END_TO_EMIT_SECONDS, get_args(Source))
    policy = Policy(
        emit_after_s=settings.emit_after_s,
        give_up_after_s=settings.give_up_after_s,
        redact=redactor(settings.redact),
        observe=_observe,
        is_known=await _ask_ledger(process),
        clock=time.time,
    )
    for account in settings.accounts:
        client = await process.vapi(account)
        process.consume(enrich_queue(account.name), _enricher(client, policy), client.breaker, follow=client.in_hand)


async def _ask_ledger(process: Process) -> IsKnown:
    """Ask the ledger, if there is one, whether a call went out; if it cannot answer, the call goes out."""
    if not process.settings.keeps_ledger:
        return _nobody_knows
    ledger = await process.ledger()

    async def is_known(account: str, call_id: str) -> bool:
        with suppress(DatabaseAway, TimeoutError):
            async with asyncio.timeout(KNOWN_MAX_S):
                story = await ledger.story(call_id)
            return any(event.account == account and event.kind in EMITTED for event in story)
        return False

    return is_known


async def _nobody_knows(_account: str, _call_id: str) -> bool:
    return False


def _enricher(client: VapiClient, policy: Policy) -> Handle:
    turns = Turns()

    async def fetch(call_id: str, end_at: float) -> bytes:
        """Fetch a call, and go on with one at a time, the sockets looked at in between.

        Calls that were begun together come back together: joined all in one go, they would be answered, acknowledged
        and begun anew together too, and the API would have nothing to do meanwhile (a quarter of the rate, measured).
        """
        body = await client.fetch_call(call_id, end_at=end_at)
        await turns.next()
        return body

    async def handle(delivery: Delivery, now: float) -> tuple[Message, ...]:
        fetch_call = partial(fetch, end_at=client.deadline())
        if client.breaker.is_open and not journey_of(delivery, now).version:
            ended_at = read_notification(delivery, now).ended_at
            await _wait_if_nearly_due(client.breaker, ended_at + policy.emit_after_s - now)
        return await enrich(delivery, now, fetch_call=fetch_call, policy=policy)

    return handle


async def _wait_if_nearly_due(breaker: Breaker, left_s: float) -> None:
    """In an outage a call whose deadline is near is better kept in hand than sent round: it would come back late."""
    if 0 < left_s <= IN_HAND_MAX_S:
        await breaker.wait_closed(left_s)


def _observe(enriched: EnrichedCall) -> None:
    for what in drift_of(enriched):
        DRIFT.labels(what).inc()
    ended_at, received_at = instant(enriched.timeline.ended_at), instant(enriched.timeline.received_at)
    if enriched.version == 1 and ended_at is not None:
        CALL_END_TO_EMIT_SECONDS.labels(enriched.provenance.source).observe(max(0.0, time.time() - ended_at))
        if received_at is not None:
            CALL_END_TO_RECEIPT_SECONDS.observe(max(0.0, received_at - ended_at))
