"""The ledger's schema on SQLite and on PostgreSQL: made, migrated, refused, looked at."""

import asyncio
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import inspect, make_url

from consumers.outcomes import DatabaseAway
from tests.integration.ledgers import NOW, engine_of, migrated_by_hand, opened
from worker.clients.ledger import schema as ledger_schema
from worker.clients.ledger.ledger import Ledger, SchemaState
from worker.clients.ledger.schema import LEDGER, METADATA, MIGRATIONS
from worker.clients.sql.database import Database
from worker.clients.sql.schema import migrate, version_of
from worker.settings import Secret, SettingsError
from worker.simulate.rabbitmq.commands import run


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
    database = Database(lambda: ledger_url, LEDGER)
    failing = ("CREATE TABLE half (x INTEGER)", "DROP TABLE no_such_table")

    with pytest.raises(DatabaseAway, match="no_such_table"), database.writing() as connection:
        migrate(connection, replace(LEDGER, migrations=(*MIGRATIONS, failing)))

    with database.reading() as connection:
        assert not inspect(connection).has_table("half")
        assert version_of(connection, LEDGER) == len(MIGRATIONS)
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
