"""What every store has: its database, opened and asked for its schema, and rows written many at once."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from worker.clients.sql.database import OF_THE_ROW, Database
from worker.clients.sql.schema import Schema

T = TypeVar("T")


class SqlStore:
    """The tables of a schema in the database of a URL, one method a question and a transaction.

    For one thread only. Raises `DatabaseAway` and `SettingsError`, as `Database` does.
    """

    def __init__(self, url: Callable[[], str], schema: Schema) -> None:
        self._database = Database(url, schema)
        self._latest = len(schema.migrations)
        self.close = self._database.close

    def open(self) -> None:
        """See to it that the database is there, with the schema of this version."""
        with self._database.reading():
            pass

    def schema(self) -> tuple[int, int]:
        """The schema's version there (0: none yet), and ours; changes nothing."""
        return self._database.version(), self._latest

    def _write_each(
        self, write: Callable[[Connection, Sequence[T]], None], rows: Sequence[T]
    ) -> list[Exception | None]:
        """Write the rows in one transaction; what became of each, None for well.

        One that the database refuses is found by writing each on its own: it is no trouble of the others.
        """
        try:
            with self._database.writing() as connection:
                write(connection, rows)
        except OF_THE_ROW as error:
            return [error] if len(rows) == 1 else [self._write_each(write, [row])[0] for row in rows]
        return [None] * len(rows)
