import json
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from yarl import URL

from tests.processes import eventually
from worker.broker import declare
from worker.broker.export import definitions
from worker.broker.live import compare
from worker.broker.topology import Topology, topology_of
from worker.cli import topology as command
from worker.cli.exit_codes import DONE, FOUND, Unreachable
from worker.settings import Settings, load
from worker.simulate.rabbitmq import Broker, PrivateNode

TOML = '[subscribers.billing]\nbindings = ["call.enriched.acme.completed.#"]\n'
HOMELESS = "nobody.knows"


@pytest.fixture
def environ(broker: Broker, amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An installation with two accounts and a subscriber of its own, in the process's environment too."""
    (tmp_path / "aftercall.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    environ = {
        "AFTERCALL_AMQP_URL": amqp_url,
        "AFTERCALL_AMQP_MANAGEMENT_URL": broker.management_url or "",
        "AFTERCALL_VAPI_API_KEY": "k",
        "AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY": "k",
        "AFTERCALL_RETRY_TIERS_S": "1,60",
    }
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    return environ


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return load(environ)


@pytest.fixture
def topology(settings: Settings) -> Topology:
    return topology_of(settings)


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel(on_return_raises=True)


@pytest.fixture
async def management(broker: Broker) -> AsyncIterator[aiohttp.ClientSession]:
    url = URL(broker.management_url or "")
    login = {"Authorization": aiohttp.encode_basic_auth(url.user or "", url.password or "")}
    async with aiohttp.ClientSession(url.with_user(None), headers=login, raise_for_status=True) as session:
        yield session


@pytest.fixture
def vhost(amqp_url: str) -> str:
    return URL(amqp_url).path.removeprefix("/")


async def publish(channel: AbstractChannel, exchange: str, key: str, body: bytes = b"call") -> None:
    message = aio_pika.Message(body, headers={"x-aftercall-attempt": 2}, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await (await channel.get_exchange(exchange, ensure=False)).publish(message, key)


async def take(channel: AbstractChannel, queue: str, *, no_ack: bool = True) -> AbstractIncomingMessage:
    """The next message of a queue, as soon as there is one."""
    source = await channel.get_queue(queue, ensure=False)
    return await eventually(lambda: source.get(no_ack=no_ack, fail=False))


async def depth(channel: AbstractChannel, queue: str) -> int:
    return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def differences(topology: Topology, settings: Settings) -> list[str]:
    comparison = await compare(topology, settings)
    assert comparison.not_compared == []
    return comparison.differences


async def test_apply_makes_all_of_it_and_again_changes_nothing(topology: Topology, settings: Settings) -> None:
    assert len(await differences(topology, settings)) == sum(
        map(len, (topology.exchanges, topology.queues, topology.bindings))
    )
    assert await command.apply() == DONE
    assert await differences(topology, settings) == []
    assert await command.apply() == DONE
    assert await differences(topology, settings) == []
    assert {"calls.enrich.acme", "calls.billing"} <= {queue.name for queue in topology.queues}


async def test_check_prints_nothing_and_exits_0_when_all_is_as_asked(
    environ: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    await command.apply()
    capfd.readouterr()
    assert await command.check() == DONE
    out, error = capfd.readouterr()
    assert (out, "Nothing differs" in error) == ("", True)
    assert await command.check(output="json") == DONE
    assert json.loads(capfd.readouterr().out) == {"differences": [], "notCompared": []}
    assert environ["AFTERCALL_AMQP_URL"] not in error


async def test_a_deleted_and_a_left_over_binding_are_each_named(
    topology: Topology, settings: Settings, channel: AbstractChannel
) -> None:
    await command.apply()
    queue = await channel.get_queue("calls.enrich.acme")
    await queue.unbind("calls", "call.ended.acme")
    await queue.bind("calls", "call.ended.left-over")
    missing, extra = await differences(topology, settings)
    assert missing.startswith("binding of queue calls.enrich.acme to exchange calls by 'call.ended.acme' is missing")
    assert extra.startswith(
        "binding of queue calls.enrich.acme to exchange calls by 'call.ended.left-over' is not asked"
    )
    assert await command.apply() == DONE
    assert await differences(topology, settings) == [extra]


async def test_a_missing_queue_is_named_with_its_bindings_and_comes_back_by_apply(
    topology: Topology, settings: Settings, channel: AbstractChannel
) -> None:
    await command.apply()
    await channel.queue_delete("calls.billing")
    found = await differences(topology, settings)
    assert found[0].startswith("queue calls.billing is missing")
    assert len(found) == 3
    assert all("binding of queue calls.billing" in difference for difference in found[1:])
    await command.apply()
    assert await differences(topology, settings) == []


async def test_a_queue_with_other_arguments_is_named_by_check_and_apply_and_keeps_its_messages(
    topology: Topology, settings: Settings, channel: AbstractChannel, capfd: pytest.CaptureFixture[str]
) -> None:
    other = {"x-queue-type": "quorum", "x-delivery-limit": 20}
    await channel.declare_queue("calls.crm", durable=True, arguments=other)
    await channel.default_exchange.publish(aio_pika.Message(b"kept"), "calls.crm")
    assert await command.apply() == FOUND
    out = capfd.readouterr().out
    assert out.startswith("queue calls.crm exists with other arguments")
    assert out.count("\n") == 1
    found = await differences(topology, settings)
    assert "queue calls.crm has x-delivery-limit 20, and 100 is asked for" in found
    assert "queue calls.crm lacks x-dead-letter-exchange, and calls.dead is asked for" in found
    assert all(difference.startswith("queue calls.crm ") for difference in found)
    assert await command.check() == FOUND
    assert (await take(channel, "calls.crm")).body == b"kept"


async def test_exchanges_of_another_type_or_without_their_alternate_are_named(
    topology: Topology, settings: Settings, channel: AbstractChannel, capfd: pytest.CaptureFixture[str]
) -> None:
    await channel.declare_exchange("calls", "fanout", durable=True)
    assert await command.apply() == FOUND
    assert capfd.readouterr().out.startswith("exchange calls exists with other arguments")
    assert await differences(topology, settings) == [
        "exchange calls is of type fanout where topic is asked for",
        "exchange calls lacks alternate-exchange, and calls.unrouted is asked for",
    ]


async def test_policies_that_break_safety_are_named_though_the_queues_are_new(
    topology: Topology, settings: Settings, management: aiohttp.ClientSession, vhost: str
) -> None:
    drop = {"pattern": "^calls.crm$", "definition": {"overflow": "drop-head"}, "apply-to": "queues"}
    shorten = {"pattern": "^calls.retry", "definition": {"message-ttl": 5000}, "apply-to": "queues"}
    fine = {"pattern": "^calls.billing$", "definition": {"max-length": 9}, "apply-to": "queues"}
    await management.put(f"/api/policies/{vhost}/careless", json=drop)
    await management.put(f"/api/policies/{vhost}/capacity", json=fine)
    await management.put(f"/api/operator-policies/{vhost}/hasty", json=shorten)
    await command.apply()
    overflow, ttl = sorted(await differences(topology, settings), reverse=True)
    assert overflow.startswith("policy careless sets overflow drop-head")
    assert overflow.endswith("on calls.crm")
    assert ttl == "operator policy hasty sets message-ttl 5000, and 60000 is asked for, on calls.retry.1m"


async def test_without_the_management_api_queues_are_compared_over_amqp_and_the_rest_is_said_not_to_be(
    channel: AbstractChannel,
    environ: dict[str, str],
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    await command.apply()
    monkeypatch.setenv("AFTERCALL_AMQP_MANAGEMENT_URL", f"http://127.0.0.1:{free_port}")
    assert await command.check() == DONE
    await channel.queue_delete("calls.billing")
    await channel.queue_delete("calls.crm")
    await channel.declare_queue("calls.crm", durable=True, arguments={"x-queue-type": "quorum"})
    capfd.readouterr()
    assert await command.check() == FOUND
    out, error = capfd.readouterr()
    assert sorted(line.partition(": ")[0] for line in out.splitlines()) == [
        "queue calls.billing is missing",
        "queue calls.crm exists with other arguments",
    ]
    assert "Not compared: bindings and policies" in error
    assert "rabbitmq-plugins enable rabbitmq_management" in error
    assert "AFTERCALL_AMQP_MANAGEMENT_URL" in error
    assert URL(environ["AFTERCALL_AMQP_URL"]).password not in out + error


async def test_a_broker_that_is_not_there_is_unreachable(
    environ: dict[str, str], free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFTERCALL_AMQP_URL", f"amqp://guest:secret-word@127.0.0.1:{free_port}/")
    monkeypatch.setenv("AFTERCALL_AMQP_MANAGEMENT_URL", "")
    for run in (command.check, command.apply):
        with pytest.raises(Unreachable, match=str(free_port)) as caught:
            await run()
        assert "secret-word" not in str(caught.value)
    assert environ["AFTERCALL_AMQP_URL"]


async def test_a_message_waits_in_a_tier_and_comes_back_to_its_queue_alone(
    topology: Topology, channel: AbstractChannel
) -> None:
    await command.apply()
    await publish(channel, "calls.retry.1s", "calls.billing")
    back = await take(channel, "calls.billing")
    assert (back.body, back.headers["x-aftercall-attempt"]) == (b"call", 2)
    assert "calls.retry.1s" in str(back.headers["x-death"])
    others = [queue.name for queue in topology.queues if queue.name != "calls.billing"]
    assert {name: await depth(channel, name) for name in others} == dict.fromkeys(others, 0)


@pytest.mark.parametrize("exchange", ["calls", "calls.dead", "calls.requeue", "calls.retry.1s"])
async def test_what_nobody_takes_lands_in_calls_unrouted(
    environ: dict[str, str], channel: AbstractChannel, exchange: str
) -> None:
    await command.apply()
    await publish(channel, exchange, HOMELESS)
    assert (await take(channel, "calls.unrouted")).routing_key == HOMELESS
    assert environ


async def test_a_call_reaches_each_subscriber_whose_patterns_match(
    environ: dict[str, str], channel: AbstractChannel
) -> None:
    await command.apply()
    await publish(channel, "calls", "call.enriched.acme.completed.customer-ended")
    for queue in ("calls.billing", "calls.crm", "calls.ledger", "calls.postcall"):
        assert (await take(channel, queue)).body == b"call"
    assert [await depth(channel, queue) for queue in ("calls.alerts", "calls.unrouted")] == [0, 0]
    assert environ


async def test_what_is_rejected_lies_with_the_dead_letters_of_its_queue(
    environ: dict[str, str], channel: AbstractChannel
) -> None:
    await command.apply()
    await publish(channel, "calls.requeue", "calls.billing", b"deadly")
    await (await take(channel, "calls.billing", no_ack=False)).reject(requeue=False)
    letter = await take(channel, "calls.billing.dead")
    assert (letter.body, letter.routing_key) == (b"deadly", "calls.billing")
    assert environ


async def test_exported_definitions_make_a_fresh_virtual_host_as_it_should_be(
    topology: Topology, settings: Settings, management: aiohttp.ClientSession, vhost: str
) -> None:
    await management.post(f"/api/definitions/{vhost}", json=definitions(topology, vhost))
    assert await differences(topology, settings) == []
    async with await aio_pika.connect(settings.amqp_url.reveal()) as connection:
        assert await declare.compare(connection, topology) == []


async def test_exported_definitions_are_imported_by_rabbitmqctl_on_a_fresh_node(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PrivateNode(management=True) as node:
        monkeypatch.setenv("AFTERCALL_AMQP_URL", node.url)
        monkeypatch.setenv("AFTERCALL_AMQP_MANAGEMENT_URL", node.management_url or "")
        assert await command.export(output_file=tmp_path / "calls.json") == DONE
        await node.ctl("import_definitions", str(tmp_path / "calls.json"))
        assert await command.check() == DONE
    assert environ


@pytest.mark.parametrize("format_", ["definitions", "asyncapi"])
async def test_export_writes_json_to_standard_output(
    environ: dict[str, str], capfd: pytest.CaptureFixture[str], format_: str
) -> None:
    assert await command.export(format_=format_) == DONE  # type: ignore[arg-type]  # the two it can be
    document = json.loads(capfd.readouterr().out)
    assert ("asyncapi" in document) is (format_ == "asyncapi")
    assert URL(environ["AFTERCALL_AMQP_URL"]).password not in json.dumps(document)


async def test_show_prints_every_queue_with_its_arguments(
    topology: Topology, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await command.show() == DONE
    text = capfd.readouterr().out
    assert all(f"\n{queue.name} " in text for queue in topology.queues)
    assert "calls.retry.1m" in text
    assert "60000" in text
    assert await command.show(output="json") == DONE
    document = json.loads(capfd.readouterr().out)
    assert {name: len(things) for name, things in document.items()} == {
        "exchanges": len(topology.exchanges),
        "queues": len(topology.queues),
        "bindings": len(topology.bindings),
    }
