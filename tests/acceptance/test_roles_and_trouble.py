import re
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Installation, Vapi, report, sample
from tests.processes import AFTERCALL, RunningProcess
from worker.cli import COMMANDS
from worker.simulate.rabbitmq import PrivateNode

Start = Callable[..., RunningProcess]


async def test_broken_settings_are_all_reported_at_once_and_exit_with_64(start_process: Start) -> None:
    process = start_process(
        AFTERCALL,
        "webhook",
        environment={"AFTERCALL_PREFETCH": "many", "AFTERCALL_VAPI_RTE": "5", "AFTERCALL_RETRY_TIERS_S": "30,5"},
    )

    assert await process.wait() == 64

    for key in ("AFTERCALL_PREFETCH", "did you mean AFTERCALL_VAPI_RATE", "AFTERCALL_RETRY_TIERS_S"):
        assert key in process.text()


async def test_the_endpoint_refuses_to_start_without_a_secret(start_process: Start) -> None:
    process = start_process(AFTERCALL, "webhook")

    assert await process.wait() == 64
    assert "AFTERCALL_WEBHOOK_SECRETS is not set" in process.text()


async def test_the_enricher_refuses_to_start_without_a_key(start_process: Start) -> None:
    process = start_process(AFTERCALL, "consume", "enrich")

    assert await process.wait() == 64
    assert "AFTERCALL_VAPI_API_KEY is not set" in process.text()


@pytest.mark.parametrize("role", [("webhook",), ("consume", "enrich")])
async def test_a_role_whose_broker_is_away_waits_says_so_and_begins_when_it_comes(
    role: tuple[str, ...], own_node: PrivateNode, vapi: Vapi, start_process: Start
) -> None:
    installation = Installation(own_node.url, vapi.url, start_process)
    await own_node.kill()
    process = installation.start(*role)

    await process.wait_for_line("nothing listens at AFTERCALL_AMQP_URL")
    await process.wait_for_url(installation.probe(role[0], "livez"))
    # The endpoint takes calls all the same: into the spool.
    await process.wait_for_url(installation.probe(role[0], "readyz"), status=200 if role == ("webhook",) else 503)
    await own_node.restart()

    await process.wait_for_line("broker.connected")
    await process.wait_for_url(installation.probe(role[0], "readyz"))
    assert await process.terminate() == 0


async def test_a_port_in_use_is_a_clear_sentence(installation: Installation) -> None:
    await installation.started("webhook")
    second = installation.start("webhook", AFTERCALL_ADMIN_PORT="0")

    assert await second.wait() == 64
    assert f"AFTERCALL_WEBHOOK_PORT: another process listens on port {installation.port} already" in second.text()
    assert "('" not in second.text()


async def test_a_look_at_a_cluster_goes_to_the_node_that_answers(installation: Installation) -> None:
    await installation.started("webhook")
    urls = f"amqp://127.0.0.1:1/,{installation.amqp_url}"

    tail = installation.start("tail", AFTERCALL_AMQP_URL=urls)

    await tail.wait_for_line("Waiting for enriched calls")


async def test_a_role_told_only_to_check_waits_for_the_topology_and_declares_nothing(
    installation: Installation,
) -> None:
    process = installation.start("consume", "enrich", AFTERCALL_TOPOLOGY="check")

    await process.wait_for_line("aftercall topology apply")
    await process.wait_for_url(installation.probe("consume", "readyz"), status=503)
    applied = installation.start("topology", "apply")
    assert await applied.wait() == 0

    await process.wait_for_url(installation.probe("consume", "readyz"))


async def test_the_metrics_of_a_call_are_served_and_name_no_call(installation: Installation, vapi: Vapi) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    endpoint = await installation.started("webhook")
    enricher = await installation.started("consume", "enrich")
    await installation.post(report("web"))
    await installation.take("calls.postcall")
    await enricher.wait_for_line("delivery.settled")

    told = (await endpoint.wait_for_url(installation.probe("webhook", "metrics"))).decode()
    settled = (await enricher.wait_for_url(installation.probe("consume", "metrics"))).decode()

    assert re.search(r'aftercall_webhooks_total\{account="default",answer="200",type="end-of-call-report"\} 1\.0', told)
    assert re.search(r'aftercall_deliveries_total\{outcome="acked",queue="calls.enrich.default"\} 1\.0', settled)
    assert 'aftercall_vapi_requests_total{account="default",status="200"} 1.0' in settled
    assert "aftercall_call_end_to_emit_seconds_count" in settled
    assert call["id"] not in told + settled


async def test_no_log_line_tells_what_was_said_or_who_was_called(installation: Installation, vapi: Vapi) -> None:
    call = sample("call-outbound-ended.json")
    vapi.calls[call["id"]] = call
    endpoint = await installation.started("webhook")
    enricher = await installation.started("consume", "enrich")

    await installation.post(report("outbound-ended"))
    await installation.post(report("outbound-ended")[:-40])
    await installation.post(report("outbound-ended"), secret="a-wrong-one")
    await installation.take("calls.postcall")
    await enricher.wait_for_line("delivery.settled")
    await endpoint.wait_for_line("webhook.parked")

    for private in ("Priya", "+15035550167", "Harborview", "acceptance-secret", "a-wrong-one", "acceptance-key"):
        assert private not in endpoint.text() + enricher.text()


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_explains_itself_with_an_example(command: str, start_process: Start) -> None:
    process = start_process(AFTERCALL, command, "--help")

    assert await process.wait() == 0
    assert "Example" in process.text()


async def test_an_unknown_command_is_a_usage_error(start_process: Start) -> None:
    assert await start_process(AFTERCALL, "enrihc").wait() == 64
