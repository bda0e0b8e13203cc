"""The fault list's rows for the endpoint, with real processes and brokers: what was answered with 200 comes out."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aio_pika
import pytest

from tests.faults.conftest import Endpoint, arrived, away, settle, take_all
from tests.processes import RunningProcess, eventually
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy

Start = Callable[..., RunningProcess]
PROMPT_S = 1.0  # far below the 2 s of a publish that times out


async def test_1_a_broker_killed_with_publishes_in_flight(endpoint: Endpoint, node: PrivateNode) -> None:
    await endpoint.started()
    await settle()
    posting = asyncio.ensure_future(endpoint.post_many(200, size=20_000))
    await endpoint.process.wait_for_line("webhook.accepted")

    await node.kill()
    assert await posting == {200: 200}
    assert await endpoint.post_many(50) == {200: 50}
    assert "webhook.spooled" in endpoint.process.text()
    await endpoint.ready()
    await node.restart()

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)
    await endpoint.drained()


async def test_2_a_frozen_broker_costs_one_timeout_and_then_a_write(endpoint: Endpoint, node: PrivateNode) -> None:
    await endpoint.started()
    node.pause()
    began = time.monotonic()
    assert await endpoint.post_many(20) == {200: 20}
    assert 1.5 < time.monotonic() - began < 4
    endpoint.took_s.clear()

    while time.monotonic() < began + 5:
        assert await endpoint.post() == 200
    assert max(endpoint.took_s) < PROMPT_S
    assert len(endpoint.took_s) > 50

    node.resume()
    found = await arrived(endpoint, node.url)
    assert found.keys() == set(endpoint.kept)
    await endpoint.drained()
    await eventually(endpoint.post)
    await endpoint.process.wait_for_line("broker.takes_again")


async def test_4_a_memory_alarm(endpoint: Endpoint, node: PrivateNode) -> None:
    await endpoint.started()
    await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        assert await endpoint.post_many(20) == {200: 20}
        endpoint.took_s.clear()
        assert await endpoint.post_many(30) == {200: 30}
        assert max(endpoint.took_s) < PROMPT_S
        assert await endpoint.metric("aftercall_spool_notifications") >= 30
        assert await endpoint.metric("aftercall_spool_oldest_seconds") > 0
    finally:
        await node.ctl("set_vm_memory_high_watermark", "0.6")

    found = await arrived(endpoint, node.url)

    assert max(found.values()) <= 3, "an alarm is waited for, not tried against"
    await endpoint.drained()


@pytest.mark.parametrize("harm", ["black hole", "half open"])
async def test_5_a_black_hole_and_a_half_open_connection(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy, harm: str
) -> None:
    await endpoint.started()
    if harm == "half open":
        wire.half_open()
    else:
        wire.stall()

    assert await endpoint.post_many(10) == {200: 10}
    endpoint.took_s.clear()
    assert await endpoint.post_many(10) == {200: 10}
    assert max(endpoint.took_s) < PROMPT_S
    wire.cut()
    wire.resume()

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


async def test_6_a_confirm_that_never_comes_is_a_duplicate_under_the_same_event_id(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await endpoint.started()
    wire.stall("down")

    assert await endpoint.post("cut-before-the-ack") == 200
    wire.cut()
    wire.resume()
    await endpoint.drained()

    messages = await eventually(lambda: take_all(node.url))
    assert len(messages) == 2
    assert len({message.headers["ce-id"] for message in messages}) == 1
    assert len({message.message_id for message in messages}) == 2
    assert len({message.body for message in messages}) == 1


async def test_6_a_connection_cut_while_a_publish_is_written_is_no_wait(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await endpoint.started()
    for size in (10, 500, 2000, 30_000):
        await endpoint.drained()
        wire.cut_after(size)
        assert await endpoint.post(size=40_000) == 200

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


async def test_7_without_a_broker_at_the_start_the_endpoint_serves_through_the_spool_and_is_ready(
    endpoint: Endpoint, node: PrivateNode
) -> None:
    await node.kill()
    endpoint.start()
    await endpoint.ready()

    assert await endpoint.post_many(50, size=20_000) == {200: 50}
    assert await endpoint.post(body=b"no json at all") == 200
    assert max(endpoint.took_s) < PROMPT_S
    endpoint.kept.pop()
    await node.restart()

    assert set((await arrived(endpoint, node.url)).values()) == {1}
    (parked,) = await eventually(lambda: take_all(node.url, "calls.webhook.dead"))
    assert parked.body == b"no json at all"
    assert parked.headers["x-aftercall-reason"] == "undecodable"


async def test_10_a_deleted_exchange(endpoint: Endpoint, node: PrivateNode) -> None:
    await endpoint.started()
    async with await aio_pika.connect(node.url) as connection:
        await (await connection.channel()).exchange_delete("calls")

    assert await endpoint.post_many(40) == {200: 40}

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


async def test_12_fifty_identical_webhooks_without_a_broker_are_fifty_records(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await away(wire)
    endpoint.start()
    await endpoint.ready()
    answers = await asyncio.gather(*(endpoint.post("the-same") for _ in range(50)))
    assert set(answers) == {200}
    assert await endpoint.metric("aftercall_spool_notifications") == 50

    await wire.accept()
    await endpoint.process.wait_for_line("spool.drained", within_s=30)

    messages = await take_all(node.url)
    assert [message.correlation_id for message in messages] == ["the-same"] * 50
    assert len({message.message_id for message in messages}) == 50


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB, of which the spool keeps 64 free."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_21_a_disk_that_is_full_refuses_and_takes_again_once_it_drained(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy, small_disk: Path
) -> None:
    endpoint.spool = small_disk / "spool"
    await away(wire)
    endpoint.start()
    await endpoint.ready()

    answers = [await endpoint.post(size=900_000) for _ in range(60)]

    assert 10 < answers.count(200) < 60
    assert answers[-1] == 503
    assert await endpoint.metric("aftercall_spool_failing") == 1
    await endpoint.ready(503)
    await wire.accept()
    await endpoint.ready()
    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)
    await endpoint.drained()
    await away(wire)

    async def takes_again() -> bool:
        return await endpoint.post(size=900_000) == 200

    await eventually(takes_again)


async def test_21_a_disk_filled_by_others_at_the_start_is_trouble_and_no_reason_to_stay_away(
    endpoint: Endpoint, wire: TcpProxy, small_disk: Path
) -> None:
    endpoint.spool = small_disk / "spool"
    filling = small_disk / "filling"
    with filling.open("wb") as file:
        while True:
            try:
                file.write(bytes(2**20))
                file.flush()
            except OSError:
                break

    await endpoint.started()
    assert await endpoint.post() == 200
    assert "webhook.accepted" in endpoint.process.text()
    assert await endpoint.metric("aftercall_spool_failing") == 1

    filling.unlink()
    await endpoint.process.wait_for_line("spool.recovered")
    await away(wire)
    assert await eventually(endpoint.post) == 200
    await endpoint.process.wait_for_line("webhook.spooled")


async def test_21_a_folder_that_cannot_be_used_any_more_matters_only_while_the_broker_is_away_too(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy, tmp_path: Path
) -> None:
    await endpoint.started()
    endpoint.spool.rename(tmp_path / "elsewhere")
    endpoint.spool.write_text("in the way")
    assert await endpoint.post() == 200
    await endpoint.process.wait_for_line("spool.failed")
    await endpoint.ready()

    await away(wire)
    await endpoint.ready(503)
    assert await endpoint.post() == 503

    endpoint.spool.unlink()
    (tmp_path / "elsewhere").rename(endpoint.spool)
    await endpoint.ready()
    assert await endpoint.post() == 200
    await wire.accept()
    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


async def test_21_a_read_only_folder_at_the_start_is_a_clear_sentence(endpoint: Endpoint, small_disk: Path) -> None:
    remount(small_disk, "ro")
    endpoint.spool = small_disk / "spool"
    process = endpoint.start()

    assert await process.wait() == 64
    assert f"AFTERCALL_SPOOL_DIR: {endpoint.spool} cannot be used" in process.text()
    assert "Read-only" in process.text()
    assert "Traceback" not in process.text()


async def test_21_a_place_that_is_no_folder_is_a_clear_sentence(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.spool = tmp_path / "file"
    endpoint.spool.write_text("in the way")
    process = endpoint.start()

    assert await process.wait() == 64
    assert "AFTERCALL_SPOOL_DIR" in process.text()
    assert "Traceback" not in process.text()


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, 2**21))
os.execv(sys.argv[1], sys.argv[1:])
"""


async def test_21_a_disk_that_fails_in_the_middle_of_writing_loses_nothing_it_answered_for(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    """No file may grow beyond 2 MiB: SQLite's writes themselves fail, unforeseen."""
    await away(wire)
    endpoint.start(sys.executable, "-c", LIMITED)
    await endpoint.ready()

    answers = [await endpoint.post(size=100_000) for _ in range(60)]

    assert 200 in answers
    assert answers[-1] == 503
    await endpoint.process.kill()
    await wire.accept()
    await endpoint.started()
    assert (await arrived(endpoint, node.url)).keys() >= set(endpoint.kept)


async def test_21_a_corrupted_file_is_kept_aside_and_the_rest_goes_out(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await away(wire)
    endpoint.start()
    await endpoint.ready()
    assert await endpoint.post_many(10, size=20_000) == {200: 10}
    await endpoint.process.kill()
    (endpoint.spool / "0123456789ab.db").write_bytes(os.urandom(50_000))

    endpoint.start()
    await endpoint.process.wait_for_line("spool.quarantined")
    await endpoint.ready()
    assert await endpoint.post() == 200
    await wire.accept()

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)
    (kept,) = endpoint.spool.glob("*.corrupted-*")
    assert kept.stat().st_size == 50_000


async def test_22_an_endpoint_killed_under_load_keeps_all_it_answered_for(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await away(wire)
    endpoint.start()
    await endpoint.ready()

    async def post() -> None:
        await endpoint.post(size=20_000)
        if len(endpoint.kept) > 50:
            endpoint.process.signal(signal.SIGKILL)

    await asyncio.gather(*(post() for _ in range(300)), return_exceptions=True)
    assert 50 < len(endpoint.kept) < 300
    await wire.accept()
    await endpoint.started()

    assert (await arrived(endpoint, node.url)).keys() >= set(endpoint.kept)


DRAIN_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from worker.broker.publisher import Publisher
from worker.ingress.spool.drain import Drain
from worker.ingress.spool.keeper import Gate
from worker.ingress.spool.writer import Spool
from worker.settings import Secret

async def nothing(*_):
    pass

async def main():
    spool = Spool(Path(sys.argv[1]), 2**30)
    await spool.open()
    publisher = Publisher(Secret(sys.argv[2]), name="drain", timeout_s=10, is_patient=True, set_up=nothing)
    session = asyncio.ensure_future(publisher.session.run())

    async def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    spool.forget = die
    await Drain(spool, publisher.publish, Gate(lambda: True), publisher.unblocked).run()

asyncio.run(main())
"""


async def test_23_a_drain_killed_between_confirm_and_deletion_is_a_duplicate_and_no_loss(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy, start_process: Start
) -> None:
    await endpoint.started()
    await settle()
    await away(wire)
    assert await eventually(lambda: endpoint.post_many(5)) == {200: 5}
    await endpoint.process.terminate()
    await wire.accept()
    dying = start_process(sys.executable, "-c", DRAIN_AND_DIE, str(endpoint.spool), node.url)
    assert await dying.wait() < 0

    await endpoint.started()
    await endpoint.drained()

    messages = await take_all(node.url)
    assert len(messages) == 10
    for call_id in endpoint.kept:
        mine = [message for message in messages if message.correlation_id == call_id]
        assert len(mine) == 2
        assert len({message.headers["ce-id"] for message in mine}) == 1


async def test_a_sigterm_while_it_drains_stops_between_records_and_the_next_goes_on(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await away(wire)
    endpoint.start()
    await endpoint.ready()
    for _ in range(15):
        assert await endpoint.post_many(100, size=20_000) == {200: 100}
    await wire.accept()

    async def begun() -> bool:
        return 0 < await endpoint.metric("aftercall_spool_notifications") < 1500

    await eventually(begun, 30)
    assert await endpoint.process.terminate() == 0

    (file,) = endpoint.spool.glob("*.db")
    with sqlite3.connect(file) as connection:
        (left,) = connection.execute("SELECT COUNT(*) FROM records").fetchone()
    connection.close()
    assert not list(endpoint.spool.glob("*-wal")), "closed in order"
    await endpoint.started()
    found = await arrived(endpoint, node.url)
    assert set(found.values()) == {1}, "what was settled before the end is not published again"
    assert 0 < left < 1500


async def test_live_traffic_is_not_starved_while_a_backlog_drains(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await away(wire)
    endpoint.start()
    await endpoint.ready()
    for _ in range(15):
        assert await endpoint.post_many(100, size=20_000) == {200: 100}
    await wire.accept()
    endpoint.took_s.clear()

    async def is_drained() -> bool:
        assert await endpoint.post(size=20_000) == 200
        return "spool.drained" in endpoint.process.text()

    await eventually(is_drained, 40)

    assert max(endpoint.took_s) < PROMPT_S
    assert endpoint.process.text().count("webhook.accepted") > 3, "live calls need not queue up behind the old ones"
    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


async def test_two_endpoints_share_a_folder_and_the_living_drains_what_the_dead_left(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy, start_process: Start
) -> None:
    other = Endpoint(endpoint.amqp_url, endpoint.spool, start_process, endpoint.http)
    await away(wire)
    for each in (endpoint, other):
        each.start()
        await each.ready()
        assert await each.post_many(20) == {200: 20}
    assert len(list(endpoint.spool.glob("*.db"))) == 2

    await other.process.kill()
    await wire.accept()
    endpoint.kept += other.kept

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)
