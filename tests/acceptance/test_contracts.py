"""The published contract against what really travels: every message of real roles, read by what `docs/` tells of it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import jsonschema
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from consumers.messages import Delivery, unpack
from tests.acceptance.conftest import Installation, Vapi, fresh_report, report, sample
from tests.node import wrong_in
from tests.processes import eventually

PUBLISHED = Path(__file__).parents[2] / "docs" / "asyncapi.json"
DOCUMENT: dict[str, Any] = json.loads(PUBLISHED.read_text())
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
SAMPLES = ("outbound-ended", "inbound-voicemail", "web", "pipeline-error")
DEAD = ("calls.enrich.default", "calls.webhook")
TIERS = ("1s", "2s", "4s")


def test_the_parser_of_asyncapi_finds_nothing_wrong_with_it() -> None:
    assert wrong_in(PUBLISHED) == []


def test_the_parser_would_find_what_is_wrong(tmp_path: Path) -> None:
    broken = json.loads(PUBLISHED.read_text())
    broken["channels"]["call.ended"]["bindings"]["amqp"]["exchange"]["type"] = "topical"
    broken["operations"]["send.call.noted"]["channel"]["$ref"] = "#/channels/nowhere"
    (tmp_path / "asyncapi.json").write_text(json.dumps(broken))

    paths = [each["path"] for each in wrong_in(tmp_path / "asyncapi.json")]
    assert any("call.ended/bindings/amqp/exchange/type" in path for path in paths)
    assert any("send.call.noted/channel" in path for path in paths)


class Listener:
    """A queue of its own that gets a copy of whatever passes."""

    def __init__(self, queue: AbstractQueue) -> None:
        self._queue = queue
        self.heard: list[AbstractIncomingMessage] = []

    def names(self) -> set[str]:
        """What passed so far: messages, with and without their call's id, and notes by what they note."""
        names = {name_of(each) for each in self.heard}
        names |= {f"{name_of(each)} {each.correlation_id}" for each in self.heard}
        return names | {str(each.routing_key).rpartition(".")[2] for each in self.heard if each.type == "call.noted"}

    async def until(self, wanted: set[str]) -> None:
        async def heard() -> bool:
            while message := await self._queue.get(no_ack=True, fail=False):
                self.heard.append(message)
            assert wanted <= self.names(), f"not heard: {wanted - self.names()}"
            return True

        await eventually(heard)


def name_of(message: AbstractIncomingMessage) -> str:
    return "letter" if message.exchange == "calls.dead" else str(message.type)


@asynccontextmanager
async def listening(amqp_url: str) -> AsyncIterator[Listener]:
    async with await aio_pika.connect(amqp_url) as connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        await queue.bind("calls", "#")
        for name in DEAD:
            await queue.bind("calls.dead", name)
        for tier in TIERS:
            await queue.bind(f"calls.retry.{tier}", "")
        yield Listener(queue)


@pytest.fixture
async def listener(installation: Installation) -> AsyncIterator[Listener]:
    assert await installation.start("topology", "apply").wait() == 0
    async with listening(installation.amqp_url) as found:
        yield found


def is_as_told(message: AbstractIncomingMessage) -> None:
    """By the document alone: its routing key, its AMQP properties, its headers and its body."""
    name = name_of(message)
    told = MESSAGES[name]
    jsonschema.validate(dict(message.headers), told["headers"])
    assert message.headers.keys() - {"x-death"} <= told["headers"]["properties"].keys()
    assert (message.delivery_mode, message.app_id) == (2, "aftercall")
    assert message.message_id
    assert message.timestamp
    if message.exchange == "calls":
        keys = [key.replace("{account}", "default") for key in DOCUMENT["channels"][name]["x-routing-keys"]]
        assert message.routing_key in keys
    if "payload" in told:
        delivery = Delivery(queue="", body=message.body, content_encoding=message.content_encoding)
        schema = SCHEMAS[told["payload"]["$ref"].rpartition("/")[2]]
        jsonschema.validate(json.loads(unpack(delivery)), schema, format_checker=jsonschema.FormatChecker())


async def test_whatever_passes_is_as_the_document_tells(
    installation: Installation, vapi: Vapi, listener: Listener
) -> None:
    environment = {"AFTERCALL_EMIT_AFTER_S": "1"}
    late = sample("call-outbound-ended.json") | {"id": "late", "status": "in-progress"}
    vapi.calls |= {"late": late}
    for name in SAMPLES:
        call = sample(f"call-{name}.json")
        vapi.calls[call["id"]] = call
    roles = (installation.started("webhook", **environment), installation.started("consume", "enrich", **environment))
    await asyncio.gather(*roles)

    for name in SAMPLES:
        assert await installation.post(report(name)) == 200
    assert await installation.post(fresh("late")) == 200
    assert await installation.post(b"no JSON") == 200
    await publish(installation.amqp_url, "call.ended.default", b"{}")
    await listener.until({"call.ended", "call.enriched late", "retried", "parked", "dead", "letter"})
    vapi.calls["late"] = late | {"status": "ended"}
    await listener.until({"call.amended"})
    vapi.status = 401
    assert await installation.post(fresh("held")) == 200
    await listener.until({"held"})

    for message in listener.heard:
        if message.app_id:  # what the test has published is not ours
            is_as_told(message)
    assert {str(each.exchange) for each in listener.heard} >= {"calls", "calls.dead", "calls.retry.1s"}
    pairs = {tuple(str(each.routing_key).split(".")[3:]) for each in listener.heard if each.type == "call.enriched"}
    assert len(pairs) >= len(SAMPLES)


def fresh(call_id: str) -> bytes:
    """A report of a call that has just ended."""
    told = json.loads(fresh_report("web"))
    told["message"]["call"]["id"] = call_id
    return json.dumps(told).encode()


async def publish(amqp_url: str, key: str, body: bytes) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("calls", ensure=False)
        await exchange.publish(aio_pika.Message(body, type="call.ended"), key)


def test_each_queue_of_the_document_has_an_operation_or_waits() -> None:
    received = {name.removeprefix("receive.") for name in DOCUMENT["operations"] if name.startswith("receive.")}
    queues = {name for name, each in DOCUMENT["channels"].items() if each["bindings"]["amqp"]["is"] == "queue"}
    assert queues - received == {name for name in queues if re.match(r"calls\.retry\.", name)}
