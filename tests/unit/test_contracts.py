"""What `docs/` tells others is what the code does: the published documents are those it generates now."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec import structs

from consumers.dead_letters import letter_of
from consumers.ended_reasons import RULES
from consumers.enriched import EnrichedCall
from consumers.ledger import KINDS
from consumers.messages import Delivery, Message, pack
from consumers.notifications import write_notification
from consumers.outcomes import Hold, Reject, Retry
from consumers.replays import Destination, note_of, note_of_call, replay_of, replay_of_call
from consumers.settling import Schedule, note, settle
from consumers.timestamps import iso
from tests.unit.builders import enriched_call
from worker.broker.asyncapi import asyncapi
from worker.broker.asyncapi.messages import LETTER_REASONS
from worker.broker.topology import Topology, topology_of
from worker.settings import Settings, load
from worker.settings.fields import SUBSCRIBERS

DOCS = Path(__file__).parents[2] / "docs"
AT = 1_788_196_000.5
SCHEDULE = Schedule((5, 30), 90_000)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Those of the published document: the defaults, with every subscriber that is built in."""
    return load({"AFTERCALL_SUBSCRIBERS": ",".join(SUBSCRIBERS)}, tmp_path_factory.mktemp("settings"))


@pytest.fixture(scope="module")
def topology(settings: Settings) -> Topology:
    return topology_of(settings)


@pytest.fixture(scope="module")
def document(settings: Settings, topology: Topology) -> dict[str, Any]:
    return asyncapi(topology, settings)


def test_the_published_document_is_the_one_that_is_generated(document: dict[str, Any]) -> None:
    assert json.loads((DOCS / "asyncapi.json").read_text()) == document, "`make contracts` writes it anew"


def test_every_queue_and_every_exchange_that_is_published_to_is_in_it(
    document: dict[str, Any], topology: Topology
) -> None:
    channels = document["channels"].values()
    queues = {each["address"]: each for each in channels if each["bindings"]["amqp"]["is"] == "queue"}
    exchanges = {each["bindings"]["amqp"]["exchange"]["name"] for each in channels if "parameters" in each}

    assert queues.keys() == {queue.name for queue in topology.queues}
    assert exchanges | queues.keys() >= {exchange.name for exchange in topology.exchanges}
    for queue in topology.queues:
        for name, value in queue.arguments.items():
            assert queues[queue.name][f"x-{name.removeprefix('x-')}"] == value
        bindings = [(each["exchange"], each["key"]) for each in queues[queue.name]["x-bindings"]]
        assert bindings == [(each.exchange, each.key) for each in topology.bindings if each.queue == queue.name]


def test_every_routing_key_that_there_can_be_is_in_it(document: dict[str, Any]) -> None:
    keys = {event: document["channels"][event]["x-routing-keys"] for event in ("call.ended", "call.noted")}
    assert keys["call.ended"] == ["call.ended.{account}"]
    assert set(keys["call.noted"]) == {f"call.noted.{{account}}.{kind}" for kind in KINDS[2:]}
    pairs = {f"{{account}}.{result}.{reason}" for reason, result, _ in RULES} | {"{account}.unknown.unknown"}
    for event in ("call.enriched", "call.amended"):
        assert set(document["channels"][event]["x-routing-keys"]) == {f"{event}.{pair}" for pair in pairs}


def delivery(message: Message, queue: str = "calls.crm") -> Delivery:
    return Delivery(queue=queue, body=message.body, headers=message.headers, type=message.type, call_id=message.call_id)


def settled(
    error: Exception, at: float = AT, message: Message | None = None, headers: dict[str, Any] | None = None
) -> tuple[Message, ...]:
    """What is published for a delivery, of a call unless another is given, whose consumer raised this."""
    given = message or replay_of_call(called(), "calls.crm", "run", AT, {})
    given = structs.replace(given, headers={**given.headers, **(headers or {})})
    return settle(delivery(given), error, schedule=SCHEDULE, now=at).messages


def notification() -> Message:
    body = b'{"message":{"type":"end-of-call-report","call":{"id":"c-1"}}}'
    return write_notification(
        pack(body), account="default", call_id="c-1", source="sweep", received_at=AT, traceparent="00-1-2-01"
    )


def called(**changes: Any) -> EnrichedCall:
    return enriched_call(call={"id": "c-1"}, callId="c-1", **changes)


def replayed() -> tuple[Message, ...]:
    """What a replay of a dead letter publishes."""
    dead = settled(Reject("no such contact"))[0]
    letter = letter_of(delivery(dead, "calls.crm.dead"), exchange="calls.dead", routing_key="calls.crm")
    there = Destination("calls.requeue", "calls.crm")
    notes = note_of("replayed", letter, AT, there), note_of("discarded", letter, AT)
    return replay_of(letter, delivery(dead, "calls.crm.dead"), there), *notes


MESSAGES = {
    "retried": settled(Retry("not yet", remember={"x-aftercall-refused": "{}"})),
    "held": settled(Hold("Vapi is away")),
    "a notification that waits for the rest": settled(
        Retry("later", remember={"x-aftercall-version": 1, "x-aftercall-missing": "cost", "x-aftercall-emitted": "e"}),
        message=notification(),
    ),
    "rejected": settled(Reject("no such contact")),
    "given up": settled(Retry("not yet"), AT + 100_000, headers={"x-aftercall-first-attempt-at": iso(AT)}),
    "a bug": settled(KeyError("x"), headers={"x-aftercall-attempt": 3}),
    "replayed": replayed(),
    "replayed from the archive": (
        replay_of_call(called(version=2), "calls.crm", "run", AT, {}),
        note_of_call(called(), "calls.crm", "run", AT),
    ),
    "swept": (note("swept", "default", "c-1", AT, {}), note("asked", "default", "", AT, {"x-aftercall-detail": "x"})),
}


@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
def test_the_headers_of_whatever_is_published_on_the_way_are_described(
    document: dict[str, Any], messages: tuple[Message, ...]
) -> None:
    for message in messages:
        name = "letter" if message.exchange == "calls.dead" else message.type
        described = document["components"]["messages"][name]["headers"]
        jsonschema.validate(dict(message.headers), described)
        assert message.headers.keys() <= described["properties"].keys(), "a header that nobody told of"


def test_why_a_letter_is_dead_is_one_of_a_few(document: dict[str, Any]) -> None:
    letter = document["components"]["messages"]["letter"]["headers"]
    assert letter["properties"]["x-aftercall-reason"]["enum"] == list(LETTER_REASONS)
    for told in ({"x-aftercall-reason": "bored"}, {}):
        assert not jsonschema.Draft202012Validator(letter).is_valid(told)
    jsonschema.validate({"x-death": [{"reason": "delivery_limit"}]}, letter)
