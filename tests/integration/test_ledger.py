"""The ledger on real databases: everything here runs on SQLite and on PostgreSQL, unless it is about one of them."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event as Flag
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, inspect, make_url
from yarl import URL

from consumers.ledger import KINDS, Event, LedgerAway
from tests.postgresql import PrivatePostgresql
from tests.processes import eventually
from worker.clients.ledger import schema as ledger_schema
from worker.clients.ledger.database import Database
from worker.clients.ledger.ledger import Ledger, SchemaState, open_ledger
from worker.clients.ledger.schema import METADATA, MIGRATIONS, migrate
from worker.clients.ledger.store import PRUNED_AT_ONCE
from worker.settings import Secret, SettingsError, load
from worker.simulate.rabbitmq.commands import run
from worker.simulate.tcp_proxy import TcpProxy

NOW = 1_800_000_000.0
WAITING_S = 1020.0  # AFTERCALL_EMIT_AFTER_S and AFTERCALL_SWEEP_GRACE_S as they are by default


def event(**changes: Any) -> Event:
    call_id = changes.get("call_id", str(uuid4()))
    given = {"account": "default", "call_id": call_id, "kind": "enriched", "at": NOW, "event_id": f"default/{uuid4()}"}
    return Event(**given | changes)


FULL = event(
    source="sweep",
    queue="calls.enrich.default",
    letter_reason="gave-up",
    detail="not final yet: cost missing — “…”",
    tier="6h",
    to="calls.enrich.default",
    attempt=9,
    first_attempt_at=NOW - 3600.123,
    version=2,
    complete=False,
    missing=("cost", "recording"),
    result="completed",
    reason="customer-ended",
    ended_reason="customer-ended-call",
    joined_from="both",
    received_at=NOW - 9,
    ended_at=NOW - 10,
    fetched_at=NOW - 1,
    emitted_at=NOW,
    body_bytes=2**33,
)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(load({"AFTERCALL_LEDGER_URL": url})) as ledger:
        yield ledger


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    async with opened(ledger_url) as ledger:
        yield ledger


def engine_of(url: str) -> Any:
    given = make_url(url)
    if given.drivername == "postgresql":
        return create_engine(given.set(drivername="postgresql+psycopg"))
    Path(given.database or "").parent.mkdir(parents=True, exist_ok=True)
    return create_engine(given)


def migrated_by_hand(url: str, *steps: ledger_schema.Migration) -> None:
    engine = engine_of(url)
    with engine.begin() as connection:
        migrate(connection, steps)
    engine.dispose()


# What is written


async def test_an_event_comes_back_as_it_went_in(ledger: Ledger) -> None:
    plain = event(call_id=FULL.call_id, at=NOW + 1)
    await ledger.record(plain)
    await ledger.record(FULL)

    assert await ledger.story(FULL.call_id) == [FULL, plain]


async def test_a_story_tells_of_every_account_in_the_order_of_time_and_of_writing(ledger: Ledger) -> None:
    told = [event(call_id="c", at=at, account=account) for at, account in ((NOW, "b"), (NOW, "a"), (NOW - 1, "b"))]
    for each in told:
        await ledger.record(each)
    await ledger.record(event(call_id="another"))

    assert await ledger.story("c") == [told[2], told[0], told[1]]


async def test_a_redelivered_event_is_recorded_once_and_one_of_another_kind_besides(ledger: Ledger) -> None:
    first = event(call_id="c", event_id="default/c/1")
    await ledger.record(first)
    await ledger.record(event(call_id="c", event_id="default/c/1", at=NOW + 60))
    await ledger.record(event(call_id="c", event_id="default/c/1", kind="amended", at=NOW + 90))

    assert [(each.kind, each.at) for each in await ledger.story("c")] == [("enriched", NOW), ("amended", NOW + 90)]


async def test_the_same_event_twice_in_one_transaction_is_recorded_once(ledger: Ledger) -> None:
    same = event(call_id="c")

    await asyncio.gather(*(ledger.record(each) for each in [same, event(), same, same, event()]))

    assert await ledger.story("c") == [same]
    assert sum((await ledger.counts()).values()) == 3


async def test_all_that_wait_go_into_one_transaction(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await ledger.reach()
    store = await ledger.ask(lambda store: store)
    together: list[int] = []
    record = store.record
    monkeypatch.setattr(store, "record", lambda events: together.append(len(events)) or record(events))
    is_blocked = Flag()
    blocking = asyncio.ensure_future(ledger.ask(lambda _store: is_blocked.wait(20)))

    recording = asyncio.gather(*(ledger.record(event()) for _ in range(300)))
    await asyncio.sleep(0)
    is_blocked.set()
    await asyncio.gather(blocking, recording)

    assert len(together) <= 2
    assert sum(together) == 300


async def test_an_event_that_the_database_refuses_is_no_trouble_of_the_others(ledger: Ledger) -> None:
    refused = event(body_bytes=2**70)
    outcomes = await asyncio.gather(
        *(ledger.record(each) for each in [event(call_id="c"), refused, event(call_id="c")]), return_exceptions=True
    )

    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    assert not isinstance(outcomes[1], LedgerAway)
    assert len(await ledger.story("c")) == 2


async def test_an_event_is_there_once_it_is_written(ledger: Ledger) -> None:
    asked = event(kind="asked", call_id="", event_id="default//asked/1.5")
    assert not await ledger.wrote(asked.event_id)

    await ledger.record(asked)

    assert await ledger.wrote(asked.event_id)


async def test_events_are_counted_by_account_and_kind(ledger: Ledger) -> None:
    kinds = (("default", "enriched"), ("default", "enriched"), ("acme", "dead"))
    for at, (account, kind) in enumerate(kinds):
        await ledger.record(event(account=account, kind=kind, at=NOW + at))

    assert await ledger.counts() == {("default", "enriched"): 2, ("acme", "dead"): 1}
    assert await ledger.counts(since=NOW + 1) == {("default", "enriched"): 1, ("acme", "dead"): 1}


# What is asked


@pytest.mark.parametrize(
    ("kind", "age_s", "counts"),
    [
        *((kind, 10**7, True) for kind in ("enriched", "amended", "dead", "discarded")),
        *((kind, 10, True) for kind in ("swept", "retried", "held")),
        *((kind, WAITING_S + 1, False) for kind in ("swept", "retried", "held")),
        *((kind, 10, False) for kind in ("parked", "replayed", "asked")),
    ],
)
async def test_a_call_is_accounted_for_by_what_settles_it_and_for_a_while_by_what_sends_it_on_its_way(
    ledger: Ledger, kind: Any, age_s: float, counts: bool
) -> None:
    await ledger.record(event(call_id="c", kind=kind, at=NOW - age_s))

    assert await ledger.accounted("default", ["c"], NOW) == ({"c"} if counts else set())


async def test_a_call_counts_in_its_own_account_only(ledger: Ledger) -> None:
    await ledger.record(event(call_id="c", account="acme"))

    assert await ledger.accounted("default", ["c"], NOW) == set()
    assert await ledger.accounted("acme", ["c", "d"], NOW) == {"c"}


async def test_thousands_of_calls_can_be_asked_about_at_once(ledger: Ledger) -> None:
    known = [f"call-{number}" for number in range(0, 3000, 2)]
    await asyncio.gather(*(ledger.record(event(call_id=call_id)) for call_id in known))

    assert await ledger.accounted("default", [f"call-{number}" for number in range(3000)], NOW) == set(known)
    assert await ledger.accounted("default", [], NOW) == set()


async def test_a_watermark_only_goes_forward(ledger: Ledger) -> None:
    assert await ledger.watermark("default") is None
    for at in (NOW, NOW - 60, NOW + 0.25, NOW):
        await ledger.set_watermark("default", at)

    assert await ledger.watermark("default") == NOW + 0.25
    assert await ledger.watermark("acme") is None


async def test_pruning_deletes_what_is_too_old_a_bounded_number_at_a_time(ledger: Ledger) -> None:
    old = PRUNED_AT_ONCE + 10
    await asyncio.gather(*(ledger.record(event(at=NOW - 100)) for _ in range(old)))
    await asyncio.gather(*(ledger.record(event(at=NOW)) for _ in range(5)))

    assert [await ledger.prune(NOW - 50) for _ in range(3)] == [PRUNED_AT_ONCE, 10, 0]
    assert sum((await ledger.counts()).values()) == 5


# The schema


async def test_the_tables_are_as_the_statements_expect_them(ledger: Ledger, ledger_url: str) -> None:
    await ledger.reach()
    engine = engine_of(ledger_url)

    for table in METADATA.sorted_tables:
        found = {column["name"]: column["nullable"] for column in inspect(engine).get_columns(table.name)}
        for column in table.columns:
            assert column.name in found
            assert column.primary_key or found[column.name] == column.nullable
    engine.dispose()


async def test_a_ledger_of_an_older_schema_is_brought_up_to_date_and_keeps_what_is_in_it(
    ledger_url: str,
) -> None:
    migrated_by_hand(ledger_url, *MIGRATIONS[:1])
    engine = engine_of(ledger_url)
    columns = [column for column in ledger_schema.EVENTS.columns if column.name != "id"]
    with engine.begin() as connection:
        old = {column.name: 0 if column.type.python_type in (int, float) else "" for column in columns}
        connection.execute(ledger_schema.EVENTS.insert().values(old | {"call_id": "c", "complete": None}))
    engine.dispose()

    async with opened(ledger_url) as ledger:
        assert await ledger.check() == SchemaState(found=len(MIGRATIONS), wanted=len(MIGRATIONS))
        assert len(await ledger.story("c")) == 1
        await ledger.set_watermark("default", NOW)


async def test_a_step_that_fails_leaves_the_ledger_as_it_was(ledger_url: str) -> None:
    database = Database(lambda: ledger_url)
    failing = ("CREATE TABLE half (x INTEGER)", "DROP TABLE no_such_table")

    with pytest.raises(LedgerAway, match="no_such_table"), database.writing() as connection:
        migrate(connection, (*MIGRATIONS, failing))

    with database.reading() as connection:
        assert not inspect(connection).has_table("half")
        assert ledger_schema.version_of(connection) == len(MIGRATIONS)
    database.close()


async def test_a_ledger_of_a_newer_schema_is_refused_in_words(ledger_url: str) -> None:
    migrated_by_hand(ledger_url, *MIGRATIONS, ("CREATE TABLE of_the_future (x INTEGER)",))

    with pytest.raises(SettingsError, match=f"has schema {len(MIGRATIONS) + 1}.*knows {len(MIGRATIONS)}.*newer"):
        async with opened(ledger_url):
            pass


async def test_looking_changes_nothing(ledger_url: str) -> None:
    ledger = Ledger(Secret(ledger_url), waiting_s=1)
    assert await ledger.check() == SchemaState(found=0, wanted=len(MIGRATIONS))
    assert await ledger.check() == SchemaState(found=0, wanted=len(MIGRATIONS))
    await ledger.close()

    if ledger_url.startswith("sqlite"):
        assert not Path(make_url(ledger_url).database or "").parent.exists()


OPEN_AND_WRITE = """
import asyncio, sys
from consumers.ledger import Event
from worker.clients.ledger.ledger import open_ledger
from worker.settings import load

async def main(url, name):
    async with open_ledger(load({"AFTERCALL_LEDGER_URL": url})) as ledger:
        for number in range(50):
            for event_id in (f"{number}", f"{name}/{number}"):
                await ledger.record(Event(account="default", call_id="c", kind="enriched", at=1.0, event_id=event_id))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_that_start_at_once_make_one_schema_and_write_side_by_side(ledger_url: str) -> None:
    commands = [(sys.executable, "-c", OPEN_AND_WRITE, ledger_url, str(number)) for number in range(4)]
    await asyncio.gather(*(run(*command, within_s=30) for command in commands))

    async with opened(ledger_url) as ledger:
        assert await ledger.counts() == {("default", "enriched"): 50 + 4 * 50}


# Trouble


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://localhost/ledger", "is kept in sqlite:///"),
        ("sqlite://", "is kept in sqlite:///"),
        ("sqlite:///:memory:", "is kept in sqlite:///"),
        ("postgresql+asyncpg://localhost/ledger", "is kept in sqlite:///"),
        ("a file of mine", "is no address"),
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
            with pytest.raises(LedgerAway, match=f"{told}.*AFTERCALL_LEDGER_URL") as caught:
                await question
            assert "s3cret" not in str(caught.value)


async def test_a_database_that_is_none_is_told_of(postgresql: PrivatePostgresql) -> None:
    async with opened(postgresql.url.replace("/postgres", "/nowhere")) as ledger:
        with pytest.raises(LedgerAway, match='database "nowhere" does not exist'):
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
        with pytest.raises(LedgerAway):
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
        with pytest.raises(LedgerAway, match=r"within 0.5 s"):
            await ledger.record(event(call_id="c"))

        proxy.resume()

        await eventually(lambda: _answers(ledger))
        await ledger.close()


async def _answers(ledger: Ledger) -> bool:
    try:
        await ledger.reach()
    except LedgerAway:
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
        with pytest.raises(LedgerAway, match="is damaged"):
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


def test_every_kind_has_been_thought_of() -> None:
    assert set(KINDS) == {
        *("enriched", "amended", "retried", "held", "parked"),
        *("dead", "replayed", "discarded", "swept", "asked"),
    }


async def test_text_in_any_language_and_time_to_the_microsecond_survive(ledger: Ledger) -> None:
    told = event(call_id="ç/日本/🤝", detail="“naïve” 🤝", at=1796000000.123456, event_id="default/ç/日本/🤝/dead/1.5")
    await ledger.record(told)

    assert await ledger.story("ç/日本/🤝") == [told]
