"""What the spool does with a damaged file, a lost folder and a full disk, and what it tells of them."""

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumers.messages import Message
from tests.unit.spools import bodies, files, message, opened
from worker.ingress.spool.writer import Spool, SpoolFailed


def damage(file: Path, offset: int, size: int) -> None:
    with file.open("r+b") as opened_file:
        opened_file.seek(offset)
        opened_file.write(os.urandom(size))


@pytest.mark.parametrize(("offset", "size"), [(0, 100), (4096, 8192), (0, 4096 * 20)])
async def test_a_corrupted_file_is_put_out_of_the_way_at_the_start_and_never_deleted(
    tmp_path: Path, offset: int, size: int
) -> None:
    async with opened(tmp_path) as spool:
        for _ in range(30):
            await spool.keep(message(bytes(8000)))
    (file,) = files(tmp_path)
    damage(file, offset, size)
    damaged = file.read_bytes()

    with capture_logs() as logs:
        async with opened(tmp_path) as spool:
            await spool.keep(message(b"goes on"))
            assert await bodies(spool) == [b"goes on"]

    (quarantined,) = files(tmp_path, "*.corrupted-*")
    assert quarantined.read_bytes() == damaged
    (told,) = [line for line in logs if line["event"] == "spool.quarantined"]
    assert told["file"] == str(quarantined)
    assert len(files(tmp_path)) == 1


async def test_a_file_corrupted_while_it_is_used_is_put_out_of_the_way_and_keeping_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for _ in range(30):
            await spool.keep(message(bytes(8000)))
        (file,) = files(tmp_path)
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        damage(file, 0, file.stat().st_size)

        await spool.keep(message(b"goes on"))

        assert await bodies(spool) == [b"goes on"]
        assert len(files(tmp_path, "*.corrupted-*")) >= 1


async def test_one_damaged_record_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for body in (b"one", b"two", b"three"):
            await spool.keep(message(body))
        with sqlite3.connect(files(tmp_path)[0]) as connection:
            connection.execute("UPDATE records SET headers = X'C1' WHERE body = ?", (b"two",))
        connection.close()

        assert await bodies(spool) == [b"one", b"three"]
        assert spool.totals.aside == 1


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.keep(message(b"of the future"))
    (file,) = files(tmp_path)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    async with opened(tmp_path) as spool:
        assert await bodies(spool) == []
        await spool.keep(message(b"of today"))

    assert file.exists()
    assert not files(tmp_path, "*.corrupted-*")


async def test_a_folder_removed_under_its_feet_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    async with opened(folder) as spool:
        await spool.keep(message(b"lost with the folder"))
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()

        await spool.keep(message(b"kept"))

    async with opened(folder) as spool:
        assert await bodies(spool) == [b"kept"]


async def test_another_that_holds_the_file_for_a_moment_only_delays(tmp_path: Path, spool: Spool) -> None:
    await spool.keep(message(b"one"))
    connection = sqlite3.connect(files(tmp_path)[0], isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    keeping = asyncio.ensure_future(spool.keep(message(b"two")))
    await asyncio.wait([keeping], timeout=0.1)
    assert not keeping.done()

    connection.execute("ROLLBACK")
    connection.close()

    await keeping
    assert await bodies(spool) == [b"one", b"two"]


async def test_what_another_process_takes_out_is_noticed(tmp_path: Path, spool: Spool) -> None:
    await spool.keep(message(b"one"))
    await spool.keep(message(b"two"))
    with sqlite3.connect(files(tmp_path)[0]) as connection:
        connection.execute("DELETE FROM records WHERE body = X'6F6E65'")
    connection.close()

    await spool.tend()

    assert spool.totals.waiting == 1


async def test_a_bug_in_the_writer_is_told_to_who_asked_and_the_writer_goes_on(spool: Spool, monkeypatch: Any) -> None:
    await spool.keep(message(b"one"))
    with monkeypatch.context() as patched:
        patched.setattr("worker.ingress.spool.file.message_of", _fail)
        with pytest.raises(SpoolFailed, match="KeyError"):
            await spool.oldest(1)

    assert await bodies(spool) == [b"one"]


def _fail(_row: Any) -> Message:
    raise KeyError("a bug")


async def test_trouble_is_told_once_and_its_end_too(tmp_path: Path, monkeypatch: Any) -> None:
    async with opened(tmp_path) as spool:
        with capture_logs() as logs:
            with monkeypatch.context() as patched:
                patched.setattr("worker.ingress.spool.folder.SpoolFolder.has_room", lambda _self: False)
                for _ in range(3):
                    with pytest.raises(SpoolFailed, match="less room"):
                        await spool.keep(message())
                assert "less room" in spool.trouble
            await spool.tend()
            assert not spool.trouble

    assert [line["event"] for line in logs] == ["spool.failed", "spool.recovered"]


async def test_a_disk_without_room_still_lets_go_of_records(tmp_path: Path, monkeypatch: Any) -> None:
    async with opened(tmp_path) as spool:
        await spool.keep(message(b"one"))
        records = await spool.oldest(1)
        monkeypatch.setattr("worker.ingress.spool.folder.SpoolFolder.has_room", lambda _self: False)

        kept, forgotten = await asyncio.gather(
            spool.keep(message(b"two")), spool.forget(records), return_exceptions=True
        )

        assert isinstance(kept, SpoolFailed)
        assert forgotten is None
        assert spool.totals.waiting == 0
