"""The spool by itself: what it keeps, in which order, what it refuses, and whose files are whose."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumers.messages import Message
from worker.ingress.spool.file import SpoolFile, parts_of
from worker.ingress.spool.folder import SLACK_BYTES
from worker.ingress.spool.writer import Spool, SpoolFailed

PLENTY = 2**30


def message(body: bytes = b"{}", **changes: Any) -> Message:
    defaults = {"exchange": "calls", "routing_key": "call.ended.default", "type": "call.ended", "call_id": "call-1"}
    return Message(**defaults | changes, body=body)


@asynccontextmanager
async def opened(folder: Path, max_bytes: int = PLENTY, **changes: Any) -> AsyncIterator[Spool]:
    spool = Spool(folder, max_bytes, **changes)
    await spool.open()
    try:
        yield spool
    finally:
        await spool.close()


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with opened(tmp_path) as spool:
        yield spool


async def bodies(spool: Spool, count: int = 1000, **changes: Any) -> list[bytes]:
    return [record.message.body for record in await spool.oldest(count, **changes)]


def files(folder: Path, pattern: str = "*.db") -> list[Path]:
    return sorted(folder.glob(pattern))


async def test_a_kept_message_comes_back_as_it_was_to_the_last_byte(spool: Spool) -> None:
    kept = message(
        bytes(range(256)) * 5000,
        exchange="calls.dead",
        routing_key="calls.webhook",
        headers={"text": "é", "number": 7, "bytes": b"\xff\x00", "nested": {"list": [1, True, None, 1.5]}},
        content_type=None,
        content_encoding="gzip",
    )

    await spool.keep(kept)

    (record,) = await spool.oldest(10)
    assert record.message == kept
    assert abs(record.kept_at - time.time()) < 5


async def test_records_come_oldest_first_and_stay_until_they_are_forgotten(spool: Spool) -> None:
    for number in range(5):
        await spool.keep(message(b"%d" % number))

    assert await bodies(spool, 3) == [b"0", b"1", b"2"]
    assert await bodies(spool, 3) == [b"0", b"1", b"2"], "reading takes nothing out"
    await spool.forget((await spool.oldest(2))[1:])

    assert await bodies(spool) == [b"0", b"2", b"3", b"4"]
    assert (spool.totals.waiting, spool.totals.aside) == (4, 0)


async def test_a_record_forgotten_twice_is_counted_once(spool: Spool) -> None:
    await spool.keep(message(b"one"))
    await spool.keep(message(b"two"))
    first = await spool.oldest(1)

    await spool.forget(first)
    await spool.forget(first)

    assert spool.totals.waiting == 1


async def test_a_large_backlog_is_read_within_a_bound_of_bytes_but_never_less_than_one(spool: Spool) -> None:
    for _ in range(4):
        await spool.keep(message(bytes(6_000_000)))
    await spool.keep(message(b"small"))

    assert len(await spool.oldest(5)) == 2

    await spool.forget(await spool.oldest(5))
    await spool.forget(await spool.oldest(5))
    await spool.forget(await spool.oldest(5))
    await spool.keep(message(bytes(20_000_000)))
    assert len(await spool.oldest(5)) == 1


async def test_destinations_that_rest_are_left_out(spool: Spool) -> None:
    await spool.keep(message(b"a", routing_key="call.ended.a"))
    await spool.keep(message(b"b", routing_key="call.ended.b"))
    await spool.keep(message(b"c", exchange="calls.dead", routing_key="call.ended.a"))

    assert await bodies(spool, without=[("calls", "call.ended.a")]) == [b"b", b"c"]
    assert await bodies(spool, without=[("calls", "call.ended.a"), ("calls", "call.ended.b")]) == [b"c"]


async def test_what_waits_at_one_moment_goes_to_disk_in_few_commits(tmp_path: Path, monkeypatch: Any) -> None:
    commits = 0
    real = SpoolFile.commit

    def counted(self: SpoolFile) -> None:
        nonlocal commits
        commits += 1
        real(self)

    monkeypatch.setattr(SpoolFile, "commit", counted)
    async with opened(tmp_path) as spool:
        await asyncio.gather(*(spool.keep(message(b"%d" % number)) for number in range(400)))

        assert spool.totals.waiting == 400
        assert commits < 40


async def test_all_that_was_kept_is_there_after_a_restart_and_numbers_are_never_used_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.keep(message(b"first"))
        await spool.keep(message(b"second"))
        gone = await spool.oldest(2)
        await spool.forget(gone[1:])

    async with opened(tmp_path) as spool:
        await spool.keep(message(b"third"))

        assert await bodies(spool) == [b"first", b"third"]
        assert (await spool.oldest(2))[1].id > gone[1].id
        assert len(files(tmp_path)) == 1, "a restart goes on with the file it left"


async def test_a_full_spool_refuses_by_payload_bytes_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=3000) as spool:
        await spool.keep(message(bytes(2000)))
        with pytest.raises(SpoolFailed, match="AFTERCALL_SPOOL_MAX_BYTES"):
            await spool.keep(message(bytes(1000)))
        assert not spool.trouble, "there is room for smaller ones"
        await spool.keep(message(bytes(900)))
        assert spool.totals.size >= 2900

        await spool.forget(await spool.oldest(1))

        await spool.keep(message(bytes(1000)))


async def test_many_at_once_never_exceed_the_limit(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=10_000) as spool:
        tried = (spool.keep(message(bytes(999))) for _ in range(50))
        results = await asyncio.gather(*tried, return_exceptions=True)

        assert sum(result is None for result in results) == spool.totals.waiting <= 10
        assert spool.totals.size <= 10_000


async def test_notes_without_a_body_count_by_their_headers(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=100) as spool:
        with pytest.raises(SpoolFailed):
            await spool.keep(message(b"", headers={"x-aftercall-detail": "x" * 200}))


@pytest.mark.parametrize("odd", [{"call_id": "\ud800"}, {"headers": {"x": object()}}, {"headers": {"x": "\udfff"}}])
async def test_a_message_that_cannot_be_written_is_refused_alone(spool: Spool, odd: dict[str, Any]) -> None:
    results = await asyncio.gather(
        spool.keep(message(b"good")), spool.keep(message(b"bad", **odd)), return_exceptions=True
    )

    assert results[0] is None
    assert isinstance(results[1], SpoolFailed)
    assert await bodies(spool) == [b"good"]
    assert not spool.trouble


async def test_depth_and_age_follow_what_happens(tmp_path: Path) -> None:
    now = 1000.0
    async with opened(tmp_path, clock=lambda: now) as spool:
        assert spool.totals.oldest_at is None
        await spool.keep(message(b"old"))
        now = 1060.0
        await spool.keep(message(b"new"))
        assert spool.totals.oldest_at == 1000

        await spool.forget(await spool.oldest(1))
        assert spool.totals.oldest_at == 1060
        await spool.set_aside((await spool.oldest(1))[0], "too-large", "why")

        assert spool.totals.oldest_at is None
        assert (spool.totals.waiting, spool.totals.aside) == (0, 1)


async def test_a_record_set_aside_is_kept_out_of_the_way_also_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.keep(message(b"unwieldy"))
        await spool.keep(message(b"other"))
        await spool.set_aside((await spool.oldest(1))[0], "too-large", "17 bytes, and the broker takes 16")

    async with opened(tmp_path) as spool:
        assert await bodies(spool) == [b"other"]
        assert spool.totals.aside == 1
        await spool.forget(await spool.oldest(5))
        await spool.tend()
        assert spool.totals.aside == 1


async def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "a" / "b") as spool:
        await spool.keep(message())

        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        (file,) = files(tmp_path / "a" / "b")
        assert {part.stat().st_mode & 0o777 for part in parts_of(file)} == {0o600}


@pytest.mark.parametrize("place", ["a-file", "a-file/below"])
async def test_a_folder_that_cannot_be_one_is_refused_at_the_start(tmp_path: Path, place: str) -> None:
    (tmp_path / "a-file").write_text("in the way")
    spool = Spool(tmp_path / place, PLENTY)

    with pytest.raises(SpoolFailed):
        await spool.open()
    with pytest.raises(SpoolFailed):
        await spool.keep(message())


async def test_a_closed_spool_refuses_and_closing_twice_is_no_harm(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.close()
        with pytest.raises(SpoolFailed, match="closed"):
            await spool.keep(message())


async def test_closing_finishes_what_was_asked_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        asked = [asyncio.ensure_future(spool.keep(message(b"%d" % number))) for number in range(100)]
        await asyncio.gather(*(asyncio.wait([each], timeout=0) for each in asked))
        await spool.close()
        assert await asyncio.gather(*asked) == [None] * 100

    async with opened(tmp_path) as spool:
        assert spool.totals.waiting == 100


async def test_processes_share_a_folder_each_with_a_file_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        await one.keep(message(b"one"))
        await other.keep(message(b"other"))

        assert len(files(tmp_path)) == 2
        assert (await bodies(one), await bodies(other)) == ([b"one"], [b"other"])
        await one.tend()
        assert await bodies(one) == [b"one"], "what a living process has is its own"


async def test_what_others_left_is_adopted_at_the_start_and_merged_by_age(tmp_path: Path) -> None:
    now = 1.0
    async with opened(tmp_path, clock=lambda: now) as one, opened(tmp_path, clock=lambda: now) as other:
        for spool, body in ((one, b"1"), (other, b"2"), (one, b"3"), (other, b"4")):
            await spool.keep(message(body))
            now += 1

    async with opened(tmp_path) as heir:
        assert await bodies(heir) == [b"1", b"2", b"3", b"4"]
        assert await bodies(heir, 2) == [b"1", b"2"]
        assert heir.totals.oldest_at == 1

        await heir.forget(await heir.oldest(4))
        await heir.tend()
        assert len(files(tmp_path)) == len(files(tmp_path, "*.lock")) == 1, "an emptied one is removed, with its lock"


async def test_what_a_process_leaves_is_adopted_by_one_that_lives_when_it_looks(tmp_path: Path) -> None:
    async with opened(tmp_path) as living:
        async with opened(tmp_path) as dying:
            await dying.keep(message(b"left"))

        await living.tend()

        assert await bodies(living) == [b"left"]


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


async def test_a_file_that_held_much_is_small_again_once_it_is_empty(tmp_path: Path, spool: Spool) -> None:
    for _ in range(5):
        await spool.keep(message(bytes(SLACK_BYTES // 4)))
    while records := await spool.oldest(10):
        await spool.forget(records)

    await spool.tend()

    assert sum(part.stat().st_size for part in parts_of(files(tmp_path)[0])) < 2**20


async def test_a_bug_in_the_writer_is_told_to_who_asked_and_the_writer_goes_on(spool: Spool, monkeypatch: Any) -> None:
    await spool.keep(message(b"one"))
    with monkeypatch.context() as patched:
        patched.setattr("worker.ingress.spool.file.message_of", _fail)
        with pytest.raises(SpoolFailed, match="KeyError"):
            await spool.oldest(1)

    assert await bodies(spool) == [b"one"]


def _fail(_row: Any) -> Message:
    raise KeyError("a bug")


async def test_a_keeper_who_is_cancelled_disturbs_nobody(spool: Spool) -> None:
    cancelled = asyncio.ensure_future(spool.keep(message(b"cancelled")))
    other = asyncio.ensure_future(spool.keep(message(b"other")))
    await asyncio.wait([cancelled], timeout=0)
    cancelled.cancel()

    await other

    assert b"other" in await bodies(spool)


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
