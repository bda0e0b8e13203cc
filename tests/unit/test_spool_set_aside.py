"""What `aftercall dead` sees of the spool, from a process of its own while the endpoint has the files."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumers.messages import Message
from worker.ingress.spool.set_aside import (
    discard_set_aside,
    list_set_aside,
    replay_set_aside,
    show_set_aside,
)
from worker.ingress.spool.writer import Spool, SpoolFailed


def message(body: bytes, call_id: str) -> Message:
    headers = {"x-aftercall-account": "default", "raw": b"\xff"}
    return Message(exchange="calls", routing_key="k", body=body, type="t", call_id=call_id, headers=headers)


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """One that runs, with a record that waits and two set aside."""
    spool = Spool(tmp_path, 2**30, clock=lambda: 1000.0)
    await spool.open()
    for number in range(3):
        await spool.keep(message(b"body %d" % number, f"call-{number}"))
    for record in (await spool.oldest(3))[:2]:
        await spool.set_aside(record, "too-large", "17 bytes, and the broker takes 16")
    yield spool
    await spool.close()


@pytest.mark.usefixtures("spool")
async def test_the_list_names_each_with_its_reason_and_without_its_body(tmp_path: Path) -> None:
    first, second = list_set_aside(tmp_path)

    assert (first.message.call_id, second.message.call_id) == ("call-0", "call-1")
    assert (first.reason, first.detail) == ("too-large", "17 bytes, and the broker takes 16")
    assert (first.kept_at, first.aside_at) == (1000, 1000)
    assert first.message.body == b""
    assert first.size == len(b"body 0") + second.size - len(b"body 1") > 6


@pytest.mark.usefixtures("spool")
async def test_one_is_shown_whole(tmp_path: Path) -> None:
    shown = show_set_aside(tmp_path, list_set_aside(tmp_path)[1].id)

    assert shown
    assert shown.message == message(b"body 1", "call-1")


async def test_one_replayed_waits_for_the_drain_again_in_its_old_place(spool: Spool, tmp_path: Path) -> None:
    assert replay_set_aside(tmp_path, list_set_aside(tmp_path)[0].id)

    await spool.tend()

    assert [record.message.call_id for record in await spool.oldest(9)] == ["call-0", "call-2"]
    assert (spool.totals.waiting, spool.totals.aside) == (2, 1)


async def test_one_discarded_is_gone_for_good(spool: Spool, tmp_path: Path) -> None:
    id_ = list_set_aside(tmp_path)[0].id

    assert discard_set_aside(tmp_path, id_)

    assert not discard_set_aside(tmp_path, id_)
    assert not replay_set_aside(tmp_path, id_)
    assert show_set_aside(tmp_path, id_) is None
    await spool.tend()
    assert (spool.totals.waiting, spool.totals.aside) == (1, 1)


async def test_a_record_that_waits_is_none_of_them(spool: Spool, tmp_path: Path) -> None:
    waiting = list_set_aside(tmp_path)[0].id.rpartition("/")[0] + "/3"

    assert show_set_aside(tmp_path, waiting) is None
    assert not discard_set_aside(tmp_path, waiting)
    assert spool.totals.waiting == 1


@pytest.mark.parametrize("odd", ["", "spool", "spool/x/1", "spool/../../etc/1", "spool/a/-1", "4711", "spool/a/1/2"])
@pytest.mark.usefixtures("spool")
async def test_an_id_of_nothing_is_nothing(tmp_path: Path, odd: str) -> None:
    before = everything_in(tmp_path)

    assert show_set_aside(tmp_path, odd) is None
    assert not replay_set_aside(tmp_path, odd)
    assert not discard_set_aside(tmp_path, odd)
    assert everything_in(tmp_path) == before


async def test_it_needs_no_endpoint(tmp_path: Path, spool: Spool) -> None:
    await spool.close()

    (first, _) = list_set_aside(tmp_path)
    assert replay_set_aside(tmp_path, first.id)

    heir = Spool(tmp_path, 2**30)
    await heir.open()
    assert heir.totals.waiting == 2
    await heir.close()


@pytest.mark.usefixtures("spool")
async def test_one_whose_headers_are_damaged_is_listed_without_them(tmp_path: Path) -> None:
    connection = sqlite3.connect(everything_in(tmp_path)[0])
    with connection:
        connection.execute("UPDATE records SET headers = X'C1' WHERE id = 1")
    connection.close()

    assert list_set_aside(tmp_path)[0].message.headers == {}


def test_no_folder_and_a_corrupted_file_have_none(tmp_path: Path) -> None:
    assert list_set_aside(tmp_path / "nowhere") == []
    (tmp_path / "abc.db").write_bytes(b"no database" * 1000)

    assert list_set_aside(tmp_path) == []


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "abc.db").mkdir()

    with pytest.raises(SpoolFailed, match=r"abc\.db"):
        list_set_aside(tmp_path)
