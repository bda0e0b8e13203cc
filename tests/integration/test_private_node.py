import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aio_pika
import pytest

from tests.processes import RunningProcess, eventually
from worker.simulate.rabbitmq import NoBrokerError, PrivateNode, find_broker, free_ports
from worker.simulate.rabbitmq.debian import no_service_starts
from worker.simulate.rabbitmq.home import LOCALHOST, Ports

KEEPS_A_NODE = """
import asyncio
from worker.simulate.rabbitmq import PrivateNode

async def main():
    async with PrivateNode() as node:
        print("running", node.pid, node.home.directory)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def processes_of(directory: Path) -> list[int]:
    """All processes that work in a node's directory: the node, its epmd and whatever they started."""
    links = Path("/proc").glob("[0-9]*/cwd")
    return [int(link.parent.name) for link in links if str(directory) in _target(link)]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # gone, or a zombie
        return ""


async def test_a_node_keeps_what_was_confirmed_through_kill_9_and_leaves_nothing_behind() -> None:
    async with PrivateNode() as node:
        home = node.home
        async with await aio_pika.connect(node.url) as connection:
            channel = await connection.channel(on_return_raises=True)
            queue = await channel.declare_queue("kept", durable=True)
            message = aio_pika.Message(b"call", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, queue.name)
        url = node.url
        await node.kill()
        with pytest.raises(OSError, match=r"111|refused"):
            await aio_pika.connect(url, timeout=5)
        await node.restart()
        assert node.url == url
        assert "kept\t1" in await node.ctl("list_queues", "name", "messages")
        await node.restart()  # gently this time
        async with await aio_pika.connect(url) as connection:
            kept = await (await (await connection.channel()).get_queue("kept")).get(timeout=5)
            assert kept.body == b"call"
        assert processes_of(home.directory)
    assert not processes_of(home.directory)
    assert not home.directory.exists()


async def test_two_nodes_run_at_once_and_a_paused_one_does_not_answer(own_node: PrivateNode) -> None:
    async with PrivateNode(management=True) as other:
        assert not set(_ports(own_node)) & set(_ports(other))
        own_node.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio_pika.connect(own_node.url), 0.5)
        async with await aio_pika.connect(other.url):
            own_node.resume()
        async with await aio_pika.connect(own_node.url, timeout=10):
            pass


async def test_a_command_waits_for_a_node_that_takes_connections_and_does_not_count_as_started_yet(
    own_node: PrivateNode,
) -> None:
    await own_node.ctl("stop_app")
    listed, _ = await asyncio.gather(own_node.ctl("list_vhosts"), own_node.ctl("start_app"))
    assert "/" in listed


def _ports(node: PrivateNode) -> tuple[int, ...]:
    ports = node.home.ports
    return (ports.amqp, ports.distribution, ports.epmd, ports.management, ports.prometheus)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_a_node_ends_with_the_process_that_started_it(
    ending: signal.Signals, start_process: Callable[..., RunningProcess]
) -> None:
    keeper = start_process(sys.executable, "-c", KEEPS_A_NODE, environment={"PYTHONPATH": str(Path.cwd())})
    running = await keeper.wait_for_line(r"^running (\d+) (\S+)$")
    directory = Path(running[2])
    assert int(running[1]) in processes_of(directory)
    keeper.signal(ending)
    await keeper.wait()
    await eventually(lambda: not processes_of(directory) and not directory.exists())


async def test_a_directory_of_ones_own_is_kept_with_what_it_holds(tmp_path: Path) -> None:
    async with PrivateNode(tmp_path) as first, await aio_pika.connect(first.url) as connection:
        await (await connection.channel()).declare_queue("kept", durable=True)
    async with PrivateNode(tmp_path) as second:
        assert "kept" in await second.ctl("list_queues", "name")
    assert not processes_of(tmp_path)


async def test_a_port_taken_at_the_last_moment_is_left_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOCALHOST, 0)) as taken:
        taken_port = taken.getsockname()[1]
        picks = [Ports(taken_port, *free_ports(4)), Ports(*free_ports(5))]
        monkeypatch.setattr(Ports, "pick", lambda: picks.pop(0))
        async with PrivateNode() as node:
            assert node.home.ports.amqp != taken_port


async def test_a_node_that_cannot_start_says_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    node = PrivateNode(tmp_path)
    with pytest.raises(NoBrokerError, match=r"(?s)ended while it started.*AFTERCALL_AMQP_URL.*terminated"):
        await node.start()
    assert not processes_of(tmp_path)


async def test_a_broker_that_is_named_but_does_not_answer_is_an_error_in_one_sentence(free_port: int) -> None:
    url = f"amqp://guest:secret@127.0.0.1:{free_port}/"
    with pytest.raises(NoBrokerError, match=f"does not answer at 127.0.0.1:{free_port}") as caught:
        async with find_broker({"AFTERCALL_AMQP_URL": url}):
            pass
    assert "secret" not in str(caught.value)


def test_while_a_package_is_installed_services_are_forbidden_and_the_policy_of_before_comes_back(
    tmp_path: Path,
) -> None:
    policy, saved = tmp_path / "policy-rc.d", tmp_path / "saved"
    with no_service_starts(policy, saved):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
    saved.write_text("of before")  # left by a run that was killed
    policy.write_text("of that run")
    with no_service_starts(policy, saved):
        assert policy.read_text() != "of before"
    assert policy.read_text() == "of before"
    assert not saved.exists()


async def test_each_test_has_a_virtual_host_of_its_own(amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        queue = await (await connection.channel()).declare_queue("calls", durable=True)
        assert queue.declaration_result.message_count == 0
    assert "/test-" in amqp_url
