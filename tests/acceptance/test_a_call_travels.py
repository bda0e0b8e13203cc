import asyncio
import json
from importlib.resources import files
from typing import Any

import aio_pika
import jsonschema
import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary_event

from tests.acceptance.conftest import SECRET, Installation, Vapi, fresh_report, report, sample
from tests.processes import eventually

SCHEMA = json.loads((files("consumers") / "enriched_call.schema.json").read_text())
PAIRS = {
    "outbound-ended": ("completed", "assistant-ended"),
    "inbound-voicemail": ("unreached", "voicemail"),
    "web": ("completed", "customer-ended"),
    "pipeline-error": ("failed", "provider-error"),
}
SUBSCRIBERS = ("calls.ledger", "calls.postcall", "calls.crm")


def body_of(message: Any) -> dict[str, Any]:
    return json.loads(message.body)


async def both_roles(installation: Installation, **environment: str) -> None:
    await asyncio.gather(
        installation.started("webhook", **environment), installation.started("consume", "enrich", **environment)
    )


@pytest.mark.parametrize("name", PAIRS)
async def test_a_sample_posted_to_the_endpoint_comes_out_whole_in_every_subscribers_queue(
    name: str, installation: Installation, vapi: Vapi
) -> None:
    call = sample(f"call-{name}.json")
    vapi.calls[call["id"]] = call
    await both_roles(installation)

    assert await installation.post(report(name)) == 200

    for queue in SUBSCRIBERS:
        (message,) = await installation.take(queue)
        enriched = body_of(message)
        jsonschema.validate(enriched, SCHEMA)
        assert (enriched["outcome"]["result"], enriched["outcome"]["reason"]) == PAIRS[name]
        assert message.routing_key == f"call.enriched.default.{'.'.join(PAIRS[name])}"
        assert (enriched["complete"], enriched["missing"], enriched["version"]) == (True, [], 1)
        assert enriched["call"]["transcript"] == call["transcript"]
        assert "wss://" not in message.body.decode(), "who has the listen URL has the call"
    assert await installation.depth("calls.alerts") == (1 if PAIRS[name][0] == "failed" else 0)


async def test_an_independent_reader_of_cloudevents_understands_an_enriched_call(
    installation: Installation, vapi: Vapi
) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    await both_roles(installation)
    await installation.post(report("web"))
    (message,) = await installation.take("calls.crm")

    event = from_binary_event(RabbitMQMessage(dict(message.headers), message.content_type or "", message.body))

    assert event.get_type() == "call.enriched"
    assert event.get_source() == "/accounts/default"
    assert event.get_subject() == call["id"] == message.correlation_id
    assert event.get_id().startswith(f"default/{call['id']}/")


async def test_a_call_whose_content_only_the_webhook_holds_is_complete_at_once(
    installation: Installation, vapi: Vapi
) -> None:
    call = sample("call-zero-data-retention.json")
    vapi.calls[call["id"]] = call
    await both_roles(installation)

    await installation.post(report("outbound-ended"))

    (message,) = await installation.take("calls.postcall")
    enriched = body_of(message)
    assert enriched["complete"] is True
    assert enriched["provenance"]["source"] == "both"
    assert "artifact.transcript" in enriched["provenance"]["fromWebhook"]
    assert "Harborview" in enriched["call"]["artifact"]["transcript"]


async def test_a_call_still_in_progress_at_vapi_waits_and_then_goes_out_once(
    installation: Installation, vapi: Vapi
) -> None:
    call = sample("call-in-progress.json")
    vapi.calls[call["id"]] = call
    await both_roles(installation)
    await installation.post(fresh_report("outbound-ended"))
    await eventually(lambda: len(vapi.fetched) >= 2)
    vapi.calls[call["id"]] = sample("call-outbound-ended.json")

    (message,) = await installation.take("calls.postcall")

    enriched = body_of(message)
    assert (enriched["complete"], enriched["version"]) == (True, 1)
    assert enriched["timeline"]["attempts"] >= 3


@pytest.mark.parametrize("trouble", ["refused key", "down"])
async def test_while_the_api_is_in_trouble_a_call_goes_out_incomplete_at_its_deadline_and_is_amended_afterwards(
    trouble: str, installation: Installation, vapi: Vapi
) -> None:
    call = sample("call-outbound-ended.json")
    vapi.calls[call["id"]] = call
    vapi.keys, vapi.status = ({"another"}, 200) if trouble == "refused key" else (vapi.keys, 402)
    await both_roles(installation, AFTERCALL_EMIT_AFTER_S="1")
    await installation.post(fresh_report("outbound-ended"))

    (first,) = await installation.take("calls.postcall")
    vapi.keys, vapi.status = {"acceptance-key"}, 200
    (second,) = await installation.take("calls.postcall")

    incomplete, amended = body_of(first), body_of(second)
    assert (incomplete["complete"], incomplete["missing"], incomplete["version"]) == (False, ["api"], 1)
    assert incomplete["provenance"]["source"] == "webhook"
    assert incomplete["call"]["status"] == "ended"
    assert (amended["complete"], amended["missing"], amended["version"]) == (True, [], 2)
    assert second.routing_key == "call.amended.default.completed.assistant-ended"
    assert amended["timeline"]["attempts"] == 1, "a hold spends no attempt"
    assert first.headers["ce-id"] != second.headers["ce-id"]


async def test_the_second_account_has_its_own_path_secret_and_key(installation: Installation, vapi: Vapi) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    vapi.keys = {"key of acme"}
    installation.environment |= {
        "AFTERCALL_ACCOUNTS__ACME_DENTAL__VAPI_API_KEY": "key of acme",
        "AFTERCALL_ACCOUNTS__ACME_DENTAL__WEBHOOK_SECRETS": "secret of acme",
    }
    await both_roles(installation)

    assert await installation.post(report("web"), account="acme-dental", secret=SECRET) == 401
    assert await installation.post(report("web"), account="acme-dental", secret="secret of acme") == 200

    (message,) = await installation.take("calls.crm")
    assert message.routing_key == "call.enriched.acme-dental.completed.customer-ended"
    assert body_of(message)["account"] == "acme-dental"


async def test_every_role_in_one_process_carries_a_call(installation: Installation, vapi: Vapi) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    process = await installation.started("all")

    await installation.post(report("web"))

    assert await installation.take("calls.crm"), "without a token nothing consumes it"
    await process.wait_for_line("delivery.settled.*calls.postcall|calls.postcall.*delivery.settled")
    assert await process.terminate() == 0


async def test_what_was_put_on_the_queue_by_hand_and_is_no_notification_is_a_dead_letter_byte_for_byte(
    installation: Installation, vapi: Vapi
) -> None:
    await installation.started("consume", "enrich")
    connection = await aio_pika.connect(installation.amqp_url)
    async with connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b"\xff not a call"), "calls.enrich.default")

    (letter,) = await installation.take("calls.enrich.default.dead")

    assert letter.body == b"\xff not a call"
    assert letter.headers["x-aftercall-reason"] == "undecodable"
    assert letter.headers["x-aftercall-queue"] == "calls.enrich.default"
    assert vapi.fetched == []
