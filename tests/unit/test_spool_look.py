from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumers.messages import Message
from worker.ingress.spool.look import Waiting, kept_for, room_in, waiting_in
from worker.ingress.spool.writer import Spool, SpoolFailed


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = Spool(tmp_path / "spool", 2**20, clock=lambda: 1_800_000_000.0)
    await spool.open()
    yield spool
    await spool.close()


def message(call_id: str) -> Message:
    return Message(exchange="calls", routing_key="call.ended.default", body=b"{}", type="call.ended", call_id=call_id)


async def test_what_waits_and_what_is_set_aside_is_seen_while_the_endpoint_uses_the_spool(
    spool: Spool, tmp_path: Path
) -> None:
    for call_id in ("one", "two", "one"):
        await spool.keep(message(call_id))
    (first, *_) = await spool.oldest(3)
    await spool.set_aside(first, "too-large", "")

    assert waiting_in(tmp_path / "spool") == Waiting(2, 1, 1_800_000_000.0)
    assert kept_for(tmp_path / "spool", "one") == [1_800_000_000.0]
    assert kept_for(tmp_path / "spool", "three") == []


def test_a_folder_that_is_not_there_has_nothing_in_it_and_can_be_made(tmp_path: Path) -> None:
    assert waiting_in(tmp_path / "a" / "b") == Waiting()
    room = room_in(tmp_path / "a" / "b")
    assert (room.trouble, room.is_made) == ("", False)
    assert list(tmp_path.iterdir()) == []


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    assert room_in(tmp_path).is_made
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")

    assert "Not a directory" in room_in(tmp_path / "spool").trouble


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"no database" * 100)

    with pytest.raises(SpoolFailed, match=r"damaged\.db"):
        waiting_in(tmp_path)
