"""What the spool keeps, in which order, and what it refuses."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.spools import bodies, files, message, opened
from worker.ingress.spool.file import SpoolFile
from worker.ingress.spool.writer import Spool, SpoolFailed


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


async def test_a_keeper_who_is_cancelled_disturbs_nobody(spool: Spool) -> None:
    cancelled = asyncio.ensure_future(spool.keep(message(b"cancelled")))
    other = asyncio.ensure_future(spool.keep(message(b"other")))
    await asyncio.wait([cancelled], timeout=0)
    cancelled.cancel()

    await other

    assert b"other" in await bodies(spool)
