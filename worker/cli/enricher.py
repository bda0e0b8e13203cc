"""The enricher's parts: for each account a consumer of its queue, with the account's key and rate."""

import time

from consumers.drift import drift_of
from consumers.enrich import FetchCall, Policy, enrich
from consumers.enriched import EnrichedCall
from consumers.messages import Delivery, Message
from consumers.notifications import read_notification
from consumers.redaction import redactor
from consumers.timestamps import instant
from worker.broker.deliver import Handle
from worker.broker.topology import enrich_queue
from worker.cli.process import Process
from worker.clients.vapi import VapiClient, vapi_session
from worker.operate.telemetry import CALL_END_TO_EMIT_SECONDS, DRIFT


async def start_enricher(process: Process) -> None:
    """Enrich the calls of every account."""
    settings = process.settings
    policy = Policy(
        emit_after_s=settings.emit_after_s,
        give_up_after_s=settings.give_up_after_s,
        redact=redactor(settings.redact),
        observe=_observe,
        clock=time.time,
    )
    for account in settings.accounts:
        http = await process.stack.enter_async_context(vapi_session(settings.prefetch))
        client = VapiClient(account, http)
        process.consume(enrich_queue(account.name), _enricher(client.fetch_call, policy))


def _enricher(fetch_call: FetchCall, policy: Policy) -> Handle:
    async def handle(delivery: Delivery, now: float) -> tuple[Message, ...]:
        return await enrich(read_notification(delivery, now), fetch_call=fetch_call, policy=policy)

    return handle


def _observe(enriched: EnrichedCall) -> None:
    for what in drift_of(enriched):
        DRIFT.labels(what).inc()
    ended_at = instant(enriched.timeline.ended_at)
    if enriched.version == 1 and ended_at is not None:
        CALL_END_TO_EMIT_SECONDS.labels(enriched.provenance.source).observe(max(0.0, time.time() - ended_at))
