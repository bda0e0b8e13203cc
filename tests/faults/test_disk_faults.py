"""The fault list's rows for the spool's disk, with real processes and brokers: full, read-only, failing, corrupted."""

import os
import subprocess
import sys
from pathlib import Path

from tests.disks import fill
from tests.faults.conftest import Endpoint, arrived, away
from tests.processes import eventually
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy


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
    filling = fill(small_disk)

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
