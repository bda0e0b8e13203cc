"""A ledger whose address is wrong, or whose database is away, hangs, or is in other hands."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest
from yarl import URL

from consumers.outcomes import DatabaseAway
from tests.disks import fill
from tests.integration.ledgers import event, opened
from tests.postgresql import PrivatePostgresql
from tests.processes import eventually
from worker.clients.ledger.ledger import Ledger
from worker.settings import Secret, SettingsError
from worker.simulate.tcp_proxy import TcpProxy


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://localhost/ledger", "is kept in sqlite:///"),
        ("sqlite://", "is kept in sqlite:///"),
        ("sqlite:///:memory:", "is kept in sqlite:///"),
        ("postgresql+asyncpg://localhost/ledger", "is kept in sqlite:///"),
        ("a file of mine", "is kept in sqlite:///"),
        ("sqlite:a file of mine", "is no address"),
        ("sqlite:////proc/nobody/ledger.db", "cannot be made"),
        ("sqlite:////proc/ledger.db", "cannot be written"),
    ],
)
async def test_a_url_that_can_never_be_used_is_refused_in_words(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"AFTERCALL_LEDGER_URL.*{told}"):
        async with opened(url):
            pass


async def test_without_a_driver_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(SettingsError, match=r"pip install 'aftercall\[postgres\]'"):
        async with opened("postgresql://localhost/ledger"):
            pass


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:s3cret@127.0.0.1:1/ledger", "refused"),
        ("postgresql://u:s3cret@there.is.no.such.host.invalid/ledger", "resolve"),
    ],
)
async def test_a_server_that_is_away_is_told_of_without_the_password(url: str, told: str) -> None:
    async with opened(url) as ledger:
        for question in (ledger.check(), ledger.record(event()), ledger.story("c")):
            with pytest.raises(DatabaseAway, match=f"{told}.*AFTERCALL_LEDGER_URL") as caught:
                await question
            assert "s3cret" not in str(caught.value)


async def test_a_database_that_is_none_is_told_of(postgresql: PrivatePostgresql) -> None:
    async with opened(postgresql.url.replace("/postgres", "/nowhere")) as ledger:
        with pytest.raises(DatabaseAway, match='database "nowhere" does not exist'):
            await ledger.reach()


async def test_a_ledger_works_again_once_its_server_is_back(postgresql_url: str) -> None:
    address = URL(postgresql_url)
    async with (
        TcpProxy(address.host or "", address.port or 0) as proxy,
        opened(proxy.through(postgresql_url)) as ledger,
    ):
        await ledger.record(event(call_id="c"))
        await proxy.refuse()
        proxy.cut()
        with pytest.raises(DatabaseAway):
            await ledger.record(event(call_id="c"))

        await proxy.accept()

        await ledger.record(event(call_id="c"))
        assert len(await ledger.story("c")) == 2


async def test_a_server_that_hangs_is_not_waited_for_long(postgresql_url: str) -> None:
    address = URL(postgresql_url)
    async with TcpProxy(address.host or "", address.port or 0) as proxy:
        ledger = Ledger(Secret(proxy.through(postgresql_url)), waiting_s=1, answer_s=0.5)
        await ledger.reach()
        proxy.stall()
        with pytest.raises(DatabaseAway, match=r"within 0.5 s"):
            await ledger.record(event(call_id="c"))

        proxy.resume()

        await eventually(lambda: _answers(ledger))
        await ledger.close()


async def _answers(ledger: Ledger) -> bool:
    try:
        await ledger.reach()
    except DatabaseAway:
        return False
    return True


async def test_a_ledger_file_that_somebody_removed_is_made_anew(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        await ledger.record(event(call_id="before"))
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            (tmp_path / name).unlink()

        await ledger.record(event(call_id="after"))

    with sqlite3.connect(tmp_path / "ledger.db") as found:
        assert found.execute("SELECT call_id FROM aftercall_events").fetchall() == [("after",)]
    found.close()


async def test_a_file_that_is_no_database_is_left_alone_and_told_of(tmp_path: Path) -> None:
    file, content = tmp_path / "ledger.db", b"something else entirely" * 100
    await asyncio.to_thread(file.write_bytes, content)

    async with opened(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        with pytest.raises(DatabaseAway, match="is damaged"):
            await ledger.record(event())
    assert await asyncio.to_thread(file.read_bytes) == content


async def test_another_process_that_writes_is_waited_for(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        await ledger.reach()
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        recording = asyncio.ensure_future(ledger.record(event(call_id="c")))
        done, _ = await asyncio.wait([recording], timeout=0.2)
        assert not done

        other.execute("ROLLBACK")
        other.close()

        await recording
        assert len(await ledger.story("c")) == 1


async def test_a_disk_that_is_full_has_to_have_room_again_before_it_counts_as_back(small_disk: Path) -> None:
    async with opened(f"sqlite:///{small_disk}/ledger.db") as ledger:
        await ledger.record(event(call_id="c"))
        filling = fill(small_disk)
        with pytest.raises(DatabaseAway, match="disk is full"):
            await asyncio.gather(*(ledger.record(event(detail="long" * 10_000)) for _ in range(100)))

        with pytest.raises(DatabaseAway, match="make room there"):
            await ledger.reach()
        filling.unlink()

        await ledger.reach()
        await ledger.record(event(call_id="c"))
        assert len(await ledger.story("c")) == 2
