"""The ledger's tables, and the numbered steps that lead to them from any earlier version."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    inspect,
    select,
    text,
)

from worker.settings import SettingsError

Migration = tuple[str, ...]
"""Statements that take the schema one version further; `{identity}` is a number that the database gives."""

METADATA: Final = MetaData()
EVENTS: Final = Table(
    "aftercall_events",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("at", Double, nullable=False),
    *(
        Column(name, Text, nullable=False)
        for name in ("source", "queue", "letter_reason", "detail", "tier", "to", "missing")
    ),
    Column("attempt", Integer, nullable=False),
    Column("first_attempt_at", Double),
    Column("version", Integer, nullable=False),
    Column("complete", Boolean),
    *(Column(name, Text, nullable=False) for name in ("result", "reason", "ended_reason", "joined_from")),
    *(Column(name, Double) for name in ("received_at", "ended_at", "fetched_at", "emitted_at")),
    Column("body_bytes", BigInteger, nullable=False),
)
WATERMARKS: Final = Table(
    "aftercall_watermarks",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("at", Double, nullable=False),
)
SCHEMA: Final = Table("aftercall_schema", MetaData(), Column("version", Integer, nullable=False))

# A step that was released is never changed: another one follows it. Instants are seconds since the epoch.
MIGRATIONS: Final[Sequence[Migration]] = (
    (
        """CREATE TABLE aftercall_events (
            id {identity}, event_id TEXT NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL, call_id TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL, source TEXT NOT NULL, queue TEXT NOT NULL, letter_reason TEXT NOT NULL,
            detail TEXT NOT NULL, tier TEXT NOT NULL, "to" TEXT NOT NULL, missing TEXT NOT NULL,
            attempt INTEGER NOT NULL, first_attempt_at DOUBLE PRECISION, version INTEGER NOT NULL, complete BOOLEAN,
            result TEXT NOT NULL, reason TEXT NOT NULL, ended_reason TEXT NOT NULL, joined_from TEXT NOT NULL,
            received_at DOUBLE PRECISION, ended_at DOUBLE PRECISION, fetched_at DOUBLE PRECISION,
            emitted_at DOUBLE PRECISION, body_bytes BIGINT NOT NULL, UNIQUE (event_id, kind))""",
        "CREATE INDEX aftercall_events_of_call ON aftercall_events (call_id, account, kind, at)",
        "CREATE INDEX aftercall_events_by_time ON aftercall_events (at)",
    ),
    ("CREATE TABLE aftercall_watermarks (account TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL)",),
)
IDENTITY: Final = {
    "sqlite": "INTEGER PRIMARY KEY",
    "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
LOCK: Final = 0x61667465726361  # any number, always the same: PostgreSQL locks by numbers


def version_of(connection: Connection) -> int:
    """The version of the schema that is there; 0 if there is none."""
    if not inspect(connection).has_table(SCHEMA.name):
        return 0
    return connection.execute(select(SCHEMA.c.version)).scalar() or 0


def migrate(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema to the latest version, in the transaction of `connection`: all steps or none.

    Processes that start together wait for one another. Raises `SettingsError` if the schema is newer than we are.
    """
    _lock(connection)
    found = version_of(connection)
    if found > len(migrations):
        newer = f"the ledger there has schema {found}, and this version of aftercall knows {len(migrations)}"
        raise SettingsError([f"AFTERCALL_LEDGER_URL: {newer}: install a newer version, or name another database"])
    if found < len(migrations):
        _apply(connection, [statement for step in migrations[found:] for statement in step])
        _set_version(connection, len(migrations), is_first=found == 0)


def _lock(connection: Connection) -> None:
    # SQLite is locked by the transaction itself, which begins as IMMEDIATE.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # a step over many events may take its time


def _apply(connection: Connection, statements: list[str]) -> None:
    identity = IDENTITY[connection.dialect.name]
    for statement in statements:
        connection.execute(text(statement.replace("{identity}", identity)))


def _set_version(connection: Connection, version: int, *, is_first: bool) -> None:
    if is_first:
        SCHEMA.create(connection)
        connection.execute(SCHEMA.insert().values(version=version))
    else:
        connection.execute(SCHEMA.update().values(version=version))
