"""The folder of the spool, and whose files in it are whose."""

from pathlib import Path

import pytest

from tests.unit.spools import PLENTY, bodies, files, message, opened
from worker.ingress.spool.file import parts_of
from worker.ingress.spool.folder import SLACK_BYTES
from worker.ingress.spool.writer import Spool, SpoolFailed


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


async def test_a_file_that_held_much_is_small_again_once_it_is_empty(tmp_path: Path, spool: Spool) -> None:
    for _ in range(5):
        await spool.keep(message(bytes(SLACK_BYTES // 4)))
    while records := await spool.oldest(10):
        await spool.forget(records)

    await spool.tend()

    assert sum(part.stat().st_size for part in parts_of(files(tmp_path)[0])) < 2**20
