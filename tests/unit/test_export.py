from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary_event

from consumers.ended_reasons import outcome_of
from consumers.enriched import EnrichedCall, Provenance, Timeline, emission
from consumers.messages import Message, pack
from consumers.notifications import write_notification
from consumers.settling import note
from worker.broker.asyncapi import asyncapi
from worker.broker.asyncapi.channels import events_of, matches
from worker.broker.export import definitions
from worker.broker.topology import Topology, topology_of
from worker.settings import Settings, load

AT = 1_788_196_000.5
TOML = '[subscribers.billing]\nbindings = ["call.enriched.acme.completed.#"]\n'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "aftercall.toml").write_text(TOML)
    environ = {
        "AFTERCALL_AMQP_URL": "amqp://user:pass-word@rabbit-1:5673/calls%2Fhere,amqps://user:pass-word@rabbit-2/calls",
        "AFTERCALL_VAPI_API_KEY": "k",
        "AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY": "k",
    }
    return load(environ, tmp_path)


@pytest.fixture
def topology(settings: Settings) -> Topology:
    return topology_of(settings)


def enriched(version: int) -> Message:
    call = EnrichedCall(
        account="acme",
        call_id="c-1",
        version=version,
        complete=True,
        missing=(),
        outcome=outcome_of("customer-ended-call"),
        call={"id": "c-1"},
        provenance=Provenance("api", [], []),
        timeline=Timeline("2026-08-31T17:05:55.477Z", "2026-08-31T17:05:56.000Z", None, "2026-08-31T17:05:57.000Z", 1),
    )
    return emission(call, source="webhook", emitted_at=AT, trace={"traceparent": "00-1-2-01"})


def notification() -> Message:
    body = b'{"message":{"type":"end-of-call-report","call":{"id":"c-1"}}}'
    return write_notification(
        pack(body), account="acme", call_id="c-1", source="webhook", received_at=AT, traceparent="00-1-2-01"
    )


EVENTS = [notification(), enriched(1), enriched(2), note("retried", "acme", "c-1", AT, {"x-aftercall-attempt": 1})]


def test_definitions_hold_the_whole_topology_durable_and_in_its_virtual_host(topology: Topology) -> None:
    document = definitions(topology, "here")
    assert {name: len(things) for name, things in document.items()} == {
        "exchanges": len(topology.exchanges),
        "queues": len(topology.queues),
        "bindings": len(topology.bindings),
    }
    assert {thing["vhost"] for things in document.values() for thing in things} == {"here"}
    assert all(thing["durable"] and not thing["auto_delete"] for thing in document["exchanges"] + document["queues"])
    assert {
        "source": "calls",
        "destination": "calls.billing",
        "destination_type": "queue",
        "vhost": "here",
        "routing_key": "call.enriched.acme.completed.#",
        "arguments": {},
    } in document["bindings"]


@pytest.mark.parametrize(
    ("pattern", "key", "is_routed"),
    [
        ("call.enriched.#", "call.enriched.a.completed.x", True),
        ("call.enriched.#", "call.enriched", True),
        ("#", "call.ended.a", True),
        ("call.*.a", "call.ended.a", True),
        ("call.*", "call.ended.a", False),
        ("#.failed.#", "call.enriched.a.failed.start-error", True),
        ("#.failed.*", "call.enriched.a.failed", False),
        ("call.ended.a", "call.ended.ab", False),
    ],
)
def test_patterns_match_as_a_topic_exchange_routes(pattern: str, key: str, is_routed: bool) -> None:
    assert matches(pattern, key) is is_routed


@pytest.mark.parametrize(
    ("pattern", "events"),
    [
        ("call.ended.acme", ["call.ended"]),
        ("call.*.acme.#", ["call.ended", "call.enriched", "call.amended", "call.noted"]),
        ("call.enriched.*.failed.#", ["call.enriched"]),
        ("call.noted.#", ["call.noted"]),
        ("call.enriched.nobody.#", []),
    ],
)
def test_a_queue_gets_the_events_that_its_patterns_can_match(
    settings: Settings, pattern: str, events: list[str]
) -> None:
    assert events_of([pattern], settings) == events


def test_asyncapi_has_a_channel_for_each_event_each_way_and_each_queue(settings: Settings, topology: Topology) -> None:
    channels = asyncapi(topology, settings)["channels"]
    queues = {queue.name for queue in topology.queues}
    events = {"call.ended", "call.enriched", "call.amended", "call.noted"}
    assert channels.keys() == queues | events | {"calls.dead", "calls.requeue"}
    assert channels["call.enriched"]["address"] == "call.enriched.{account}.{result}.{reason}"
    assert channels["call.enriched"]["parameters"]["account"]["enum"] == ["default", "acme"]
    assert channels["call.enriched"]["bindings"]["amqp"]["exchange"]["type"] == "topic"


def test_a_queue_of_asyncapi_tells_its_arguments_bindings_and_events(settings: Settings, topology: Topology) -> None:
    billing = asyncapi(topology, settings)["channels"]["calls.billing"]
    assert billing["bindings"]["amqp"]["queue"]["vhost"] == "calls/here"
    assert billing["x-delivery-limit"] == 100
    assert billing["x-dead-letter-routing-key"] == "calls.billing"
    assert billing["x-bindings"][0] == {"exchange": "calls", "key": "call.enriched.acme.completed.#"}
    assert list(billing["messages"]) == ["call.enriched"]


def test_asyncapi_names_the_brokers_without_their_passwords(settings: Settings, topology: Topology) -> None:
    document = asyncapi(topology, settings)
    hosts = [(each["protocol"], each["host"], each["pathname"]) for each in document["servers"].values()]
    assert hosts == [("amqp", "rabbit-1:5673", "/calls%2Fhere"), ("amqps", "rabbit-2:5671", "/calls")]
    assert "pass-word" not in str(document)


def test_every_reference_of_asyncapi_leads_somewhere(settings: Settings, topology: Topology) -> None:
    document = asyncapi(topology, settings)
    references = list(references_in(document))
    assert len(references) > 20
    for reference in references:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def references_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for item in value.values() for found in references_in(item)]
    return [found for item in value for found in references_in(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("message", EVENTS, ids=lambda message: message.type)
def test_the_headers_that_we_write_are_those_that_asyncapi_describes(
    settings: Settings, topology: Topology, message: Message
) -> None:
    described = asyncapi(topology, settings)["components"]["messages"][message.type]
    jsonschema.validate(dict(message.headers), described["headers"])
    other = {**message.headers, "ce-type": "call.other"}
    assert not jsonschema.Draft202012Validator(described["headers"]).is_valid(other)


@pytest.mark.parametrize("message", EVENTS, ids=lambda message: message.type)
def test_another_implementation_of_cloudevents_reads_our_headers(message: Message) -> None:
    texts = {key: str(value) for key, value in message.headers.items()}
    event = from_binary_event(RabbitMQMessage(texts, message.content_type, message.body))
    assert event.get_specversion() == "1.0"
    assert event.get_type() == message.type
    assert event.get_source() == "/accounts/acme"
    assert event.get_subject() == "c-1"
    assert event.get_time() is not None
