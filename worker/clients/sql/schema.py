"""The schema of a database: tables, and the numbered steps that lead to them from any earlier version."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Column, Connection, Integer, MetaData, Table, inspect, select, text

from worker.settings import SettingsError

Migration = tuple[str, ...]
"""Statements that take the schema one version further; `{identity}` is a number that the database gives.

One that begins with the name of a dialect and a colon is for that dialect alone.
"""

IDENTITY: Final = {
    "sqlite": "INTEGER PRIMARY KEY",
    "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
LOCK: Final = 0x61667465726361  # any number, always the same: PostgreSQL locks by numbers


class Schema(msgspec.Struct, frozen=True):
    """What is kept in a database: what it is called, the setting with its URL, and the steps to its latest version."""

    name: str
    key: str
    version_table: str
    migrations: Sequence[Migration]

    @property
    def versions(self) -> Table:
        """The table whose one row is the version."""
        return Table(self.version_table, MetaData(), Column("version", Integer, nullable=False))


def version_of(connection: Connection, schema: Schema) -> int:
    """The version of the schema that is there; 0 if there is none."""
    if not inspect(connection).has_table(schema.version_table):
        return 0
    return connection.execute(select(schema.versions.c.version)).scalar() or 0


def migrate(connection: Connection, schema: Schema) -> None:
    """Bring the schema to the latest version, in the transaction of `connection`: all steps or none.

    Processes that start together wait for one another. Raises `SettingsError` if the schema is newer than we are.
    """
    _lock(connection)
    found, latest = version_of(connection, schema), len(schema.migrations)
    if found > latest:
        newer = f"the {schema.name} there has schema {found}, and this version of aftercall knows {latest}"
        raise SettingsError([f"{schema.key}: {newer}: install a newer version, or name another database"])
    if found < latest:
        _apply(connection, [statement for step in schema.migrations[found:] for statement in step])
        _set_version(connection, schema, is_first=found == 0)


def prove(connection: Connection, schema: Schema) -> None:
    """Write what is there already: what the database says of that is raised."""
    _set_version(connection, schema, is_first=False)


def _lock(connection: Connection) -> None:
    # SQLite is locked by the transaction itself, which begins as IMMEDIATE.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # a step over many rows may take its time


def _apply(connection: Connection, statements: list[str]) -> None:
    here = connection.dialect.name
    for statement in statements:
        dialect, found, rest = statement.partition(":")
        is_marked = bool(found) and dialect in IDENTITY
        if not is_marked or dialect == here:
            connection.exec_driver_sql((rest if is_marked else statement).replace("{identity}", IDENTITY[here]))


def _set_version(connection: Connection, schema: Schema, *, is_first: bool) -> None:
    versions = schema.versions
    if is_first:
        versions.create(connection)
        connection.execute(versions.insert().values(version=len(schema.migrations)))
    else:
        connection.execute(versions.update().values(version=len(schema.migrations)))
