"""The topology on a real broker: what `apply` makes, what `check` names, and what is exported."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractChannel
from yarl import URL

from tests.integration.consumers import take
from worker.broker import declare
from worker.broker.differences import compare
from worker.broker.export import definitions
from worker.broker.topology import Topology
from worker.cli.exit_codes import DONE, FOUND, Unreachable
from worker.cli.topology import commands as command
from worker.settings import Settings
from worker.simulate.rabbitmq import Broker, PrivateNode


@pytest.fixture
async def management(broker: Broker) -> AsyncIterator[aiohttp.ClientSession]:
    url = URL(broker.management_url or "")
    login = {"Authorization": aiohttp.encode_basic_auth(url.user or "", url.password or "")}
    async with aiohttp.ClientSession(url.with_user(None), headers=login, raise_for_status=True) as session:
        yield session


@pytest.fixture
def vhost(amqp_url: str) -> str:
    return URL(amqp_url).path.removeprefix("/")


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
    assert (await take(settings.amqp_url.reveal(), "calls.crm")).body == b"kept"


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
