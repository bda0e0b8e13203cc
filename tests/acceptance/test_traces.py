"""Traces of real processes on a real broker, as a collector gets them."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from yarl import URL

from tests.acceptance.conftest import SECRET, Installation, Vapi, fresh_report, sample
from tests.collector import Collector, collecting
from tests.processes import RunningProcess, eventually
from tests.publishing import emitted, publish
from worker.simulate.rabbitmq import free_ports
from worker.simulate.tcp_proxy import TcpProxy

TRACE, SENDER = "a" * 32, "b" * 16
OWN = """
from opentelemetry import trace

from consumers import Reject

async def handle(call):
    with trace.get_tracer("mine").start_as_current_span("bill"):
        pass

async def refuse(call):
    raise Reject("no contract")
"""
ACCEPTED = ["POST /webhooks/vapi", "publish calls:call.ended"]
ENRICHED = [*ACCEPTED, "process calls.enrich.default"]
EMITTED = [*ENRICHED, "publish calls:call.enriched"]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


async def post(installation: Installation, traceparent: str = "") -> None:
    headers = {"Authorization": f"Bearer {SECRET}"} | ({"traceparent": traceparent} if traceparent else {})
    async with (
        aiohttp.ClientSession() as http,
        http.post(installation.endpoint, data=fresh_report("web"), headers=headers) as answer,
    ):
        assert answer.status == 200


async def subscribe(installation: Installation, *command: str, **environment: str) -> RunningProcess:
    (port,) = free_ports(1)
    process = installation.start("consume", *command, AFTERCALL_ADMIN_PORT=str(port), **environment)
    await process.wait_for_url(f"http://127.0.0.1:{port}/readyz")
    return process


async def both_roles(installation: Installation, **environment: str) -> tuple[RunningProcess, RunningProcess]:
    webhook, enrich = await asyncio.gather(
        installation.started("webhook", **environment), installation.started("consume", "enrich", **environment)
    )
    return webhook, enrich


async def test_one_trace_leads_from_the_webhook_to_each_subscriber(
    installation: Installation, vapi: Vapi, collector: Collector, tmp_path: Path
) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    (tmp_path / "own.py").write_text(OWN)
    _, enrich, *_ = await asyncio.gather(
        installation.started("webhook", **collector.environment),
        installation.started("consume", "enrich", **collector.environment),
        subscribe(installation, "postcall", **collector.environment),
        subscribe(installation, "own:handle", "--queue", "own", **collector.environment),
    )

    await post(installation, f"00-{TRACE}-{SENDER}-01")

    bill, kept = await collector.one("bill"), await collector.one("process calls.postcall")
    for name in ("process calls.own", *EMITTED):  # what is within another span ends, and comes, before it
        await collector.one(name)
    request, fetch = await collector.one("POST /webhooks/vapi"), await collector.one("GET /call/{id}")
    assert {each.trace_id for each in (request, fetch, kept, bill)} == {TRACE}
    assert request.parent_id == SENDER
    assert collector.way_to(fetch) == [*ENRICHED, "GET /call/{id}"]
    assert collector.way_to(kept) == [*EMITTED, "process calls.postcall"]
    assert collector.way_to(bill) == [*EMITTED, "process calls.own", "bill"]
    assert (request.service, kept.service) == ("aftercall-webhook", "aftercall-postcall")
    assert [each.kind for each in (request, fetch, kept)] == ["SERVER", "CLIENT", "CONSUMER"]
    assert not [each for each in collector.spans if each.error or each.links]
    process = await collector.one("process calls.enrich.default")
    assert (
        process.attributes.items()
        >= {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "calls:call.ended.default:calls.enrich.default",
            "messaging.message.conversation_id": call["id"],
            "aftercall.outcome": "acked",
            "aftercall.attempt": 1,
        }.items()
    )
    (settled,) = (json.loads(line) for line in enrich.text().splitlines() if "delivery.settled" in line)
    assert (settled["trace_id"], settled["span_id"]) == (TRACE, process.span_id)


async def test_a_call_that_waits_in_a_tier_stays_in_its_trace(
    installation: Installation, vapi: Vapi, collector: Collector
) -> None:
    call = sample("call-web.json")
    await both_roles(installation, AFTERCALL_SUBSCRIBERS="postcall", **collector.environment)
    await post(installation)
    await eventually(lambda: vapi.fetched)
    await eventually(lambda: collector.named("publish calls.retry.1s:call.ended"))
    vapi.calls[call["id"]] = call

    emitted_once = await collector.one("publish calls:call.enriched")
    await eventually(
        lambda: collector.named("process calls.enrich.default")[-1].attributes["aftercall.outcome"] == "acked"
    )
    tiers = [*ENRICHED, "publish calls.retry.1s:call.ended", "process calls.enrich.default"]
    assert collector.way_to(emitted_once)[: len(tiers)] == tiers
    first, *_, last = collector.named("process calls.enrich.default")
    outcomes = [(each.attributes["aftercall.outcome"], each.attributes.get("aftercall.tier")) for each in (first, last)]
    assert outcomes == [("retried", "1s"), ("acked", None)]
    assert collector.named("GET /call/{id}")[0].attributes["error.type"] == "404"
    assert len({each.trace_id for each in collector.spans if each.service == "aftercall-enrich"}) == 1


async def test_what_waited_in_the_spool_goes_on_in_its_trace(installation: Installation, collector: Collector) -> None:
    address = URL(installation.amqp_url)
    async with TcpProxy(address.host or "", address.port or 5672) as proxy:
        await proxy.refuse()
        webhook = installation.start(
            "webhook", AFTERCALL_AMQP_URL=proxy.through(installation.amqp_url), **collector.environment
        )
        await webhook.wait_for_url(installation.probe("webhook", "readyz"))
        await post(installation, f"00-{TRACE}-{SENDER}-01")
        accepted = await collector.one("publish calls:call.ended")
        await proxy.accept()
        await webhook.wait_for_line("spool.drained")

    await eventually(lambda: len(collector.named("publish calls:call.ended")) == 2)
    drained = next(each for each in collector.named("publish calls:call.ended") if each != accepted)
    assert accepted.attributes["aftercall.kept"] == "spooled"
    assert (drained.parent_id, drained.trace_id) == (accepted.span_id, TRACE)
    (message,) = await installation.take("calls.enrich.default")
    assert message.headers["traceparent"] == f"00-{TRACE}-{drained.span_id}-01"


async def test_what_is_not_sampled_is_passed_on_and_not_exported(
    installation: Installation, vapi: Vapi, collector: Collector
) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    never = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    roles = await both_roles(installation, AFTERCALL_SUBSCRIBERS="postcall", **collector.environment, **never)
    await post(installation)
    (message,) = await installation.take("calls.postcall")
    await asyncio.gather(*(each.terminate() for each in roles))

    accepted = next(json.loads(line) for line in roles[0].text().splitlines() if "webhook.accepted" in line)
    assert str(message.headers["traceparent"]).startswith(f"00-{accepted['trace_id']}-")
    assert int(str(message.headers["traceparent"])[-2:], 16) % 2 == 0, "the flag of what is sampled"
    assert collector.spans == []


async def test_a_replayed_dead_letter_begins_a_trace_linked_to_its_own(
    installation: Installation, collector: Collector, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    own = {"AFTERCALL_SUBSCRIBERS": "postcall", **collector.environment}
    await subscribe(installation, "own:refuse", "--queue", "own", **own)
    message = emitted("call-1")
    message = msgspec.structs.replace(message, headers={**message.headers, "traceparent": f"00-{TRACE}-{SENDER}-01"})
    await publish(installation.amqp_url, [message])
    process, dead = await collector.one("process calls.own"), await collector.one("publish calls.dead:call.enriched")
    assert (dead.trace_id, dead.parent_id, process.parent_id) == (TRACE, process.span_id, SENDER)
    assert (process.error, process.attributes["error.type"]) == (True, "rejected")

    command = ("dead", "replay", "--queue", "own", "--to", "calls.postcall")
    replay = installation.start(*command, **own)
    assert await replay.wait() == 0, replay.text()

    run, again = await collector.one("dead"), await collector.one("publish calls.requeue:call.enriched")
    assert (run.service, again.parent_id) == ("aftercall-dead", "")
    assert set(again.links) == {run.trace_id, TRACE}


async def test_a_collector_that_is_away_delays_no_call_and_is_told_of_once(
    installation: Installation, vapi: Vapi, collector: Collector
) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    collector.status = 500
    roles = await both_roles(installation, AFTERCALL_SUBSCRIBERS="postcall", **collector.environment)
    for count in range(1, 4):
        await post(installation)
        async with asyncio.timeout(30):
            await installation.take("calls.postcall")
        await eventually(lambda count=count: collector.requests >= 2 * count)
    for role in roles:
        await role.wait_for_line("tracing.failing")
        assert role.text().count("tracing.failing") == 1
        assert "library.logged" not in role.text()

    collector.status = 200
    await post(installation)
    await roles[0].wait_for_line("tracing.exports_again")


async def test_each_variable_that_makes_no_sense_is_told_of_and_hides_no_collector_that_is_away(
    installation: Installation, collector: Collector
) -> None:
    collector.status = 500
    wrong = {"OTEL_TRACES_SAMPLER": "now_and_then", "OTEL_BSP_MAX_QUEUE_SIZE": "many"}
    webhook = await installation.started("webhook", **collector.environment, **wrong)
    assert webhook.text().count("tracing.variable_ignored") == 2
    for told in ("now_and_then", "OTEL_BSP_MAX_QUEUE_SIZE"):
        await webhook.wait_for_line(told)

    await post(installation)
    await webhook.wait_for_line("tracing.failing")


async def test_a_header_for_the_collector_that_makes_no_sense_is_told_of_without_its_key(
    installation: Installation, collector: Collector
) -> None:
    wrong = {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization Bearer a-marked-key"}
    webhook = await installation.started("webhook", **collector.environment, **wrong)

    await webhook.wait_for_line("[Hh]eader.*tracing.variable_ignored")
    assert "a-marked-key" not in webhook.text()


async def test_a_collector_that_does_not_answer_holds_up_no_end(installation: Installation, vapi: Vapi) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        roles = await both_roles(installation, AFTERCALL_SUBSCRIBERS="postcall", OTEL_EXPORTER_OTLP_ENDPOINT=address)
        await post(installation)
        await installation.take("calls.postcall")
        began = time.monotonic()
        assert await asyncio.gather(*(each.terminate() for each in roles)) == [0, 0]
        assert time.monotonic() - began < 10, "the exporter itself waits 10 s, and tries again"
