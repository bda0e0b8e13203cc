"""What is asked of the archive's table, one method a question and a transaction. For the archive's thread only."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, Text, bindparam, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from consumers.postcall import COLUMNS, CallRow, WantedCalls
from consumers.words import fold
from worker.clients.archive.schema import ARCHIVE, CALLS
from worker.clients.archive.wanted import conditions
from worker.clients.sql.store import SqlStore

PRUNED_AT_ONCE: Final = 200
WORDS_MAX: Final = 2**22
"""Characters indexed of one call: more of them could take PostgreSQL longer than it may take for an answer."""
KEY: Final = ("call_id", "account")
INSERTS: Final[Mapping[str, Callable[[Table], postgresql.Insert | sqlite.Insert]]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}
Counts = dict[tuple[str, str], int]


class Store(SqlStore):
    """The archive in the database of a URL. Raises `DatabaseAway` and `SettingsError`, as `Database` does."""

    def __init__(self, url: Callable[[], str]) -> None:
        super().__init__(url, ARCHIVE)

    def save(self, rows: Sequence[CallRow]) -> list[Exception | None]:
        """Write the rows in one transaction; what became of each, None for well."""
        return self._write_each(_upsert, rows)

    def page(
        self,
        wanted: WantedCalls,
        *,
        after: CallRow | None,
        count: int,
        newest_first: bool,
        without: Collection[str],
    ) -> list[CallRow]:
        """The next `count` wanted rows after one by the time of their end, but for the columns `without`."""
        column = CALLS.c
        place = tuple_(column.ended_at, column.id)
        query = select(column.id, *(column[name] for name in COLUMNS if name not in without)).limit(count)
        query = query.order_by(*((column.ended_at.desc(), column.id.desc()) if newest_first else place.clauses))
        if after is not None:
            last = (after.ended_at, after.id)
            query = query.where(place < last if newest_first else place > last)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(*conditions(wanted, connection.dialect.name)))
            return [_row(row, without) for row in rows]

    def counts(self, wanted: WantedCalls) -> Counts:
        """How many wanted rows there are of each account and result."""
        column = CALLS.c
        query = select(column.account, column.result, func.count()).group_by(column.account, column.result)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(*conditions(wanted, connection.dialect.name)))
            return {(account, result): count for account, result, count in rows}

    def prune(self, ended_before: str, accounts: Sequence[str], *, others: bool) -> int:
        """Delete the oldest calls of the accounts, or of all `others`, that ended before an instant; how many.

        A bounded number of them: the call of whoever waits for the database meanwhile comes in between.
        """
        column = CALLS.c
        whose = column.account.not_in(accounts) if others else column.account.in_(accounts)
        some = select(column.id).where(column.ended_at < ended_before, whose).order_by(column.ended_at)
        oldest = some.limit(PRUNED_AT_ONCE).with_for_update(skip_locked=True)  # another process may be at it too
        with self._database.writing() as connection:
            return connection.execute(delete(CALLS).where(column.id.in_(oldest))).rowcount


def _upsert(connection: Connection, rows: Sequence[CallRow]) -> None:
    """In one order in every process: two that write some of the same calls would else wait for each other."""
    dialect = connection.dialect.name
    ordered = sorted(rows, key=lambda row: (row.call_id, row.account))
    connection.execute(_upsertion(dialect), [_values(row, dialect) for row in ordered])


@cache
def _upsertion(dialect: str) -> postgresql.Insert | sqlite.Insert:
    values: dict[str, Any] = {name: bindparam(name) for name in COLUMNS}
    if dialect == "postgresql":
        values["words"] = func.aftercall_words(bindparam("words", type_=Text))
    insert = INSERTS[dialect](CALLS).values(values)
    new = {name: insert.excluded[name] for name in values if name not in KEY}
    return insert.on_conflict_do_update(index_elements=KEY, set_=new, where=insert.excluded.rank > CALLS.c.rank)


def _values(row: CallRow, dialect: str) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in COLUMNS}
    values["missing"] = ",".join(row.missing)
    if dialect == "postgresql":
        values["words"] = fold(f"{row.summary or ''} {row.transcript or ''}"[:WORDS_MAX])
    return values


def _row(row: Row[Any], without: Collection[str]) -> CallRow:
    fields = dict.fromkeys(without) | {"body": b""} | dict(row._mapping)  # noqa: SLF001  # a public name, whatever it begins with
    return CallRow(**fields | {"missing": tuple(filter(None, fields["missing"].split(",")))})
