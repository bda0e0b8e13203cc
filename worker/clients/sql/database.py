"""A connection: one, to SQLite or PostgreSQL, opened when it is needed and opened anew after trouble.

For one thread only. Its errors are two: `SettingsError` for what no waiting mends, `DatabaseAway` for the rest.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from consumers.outcomes import DatabaseAway
from worker.clients.sql.schema import Schema, migrate, prove, version_of
from worker.settings import SettingsError

SQLITE_BUSY_S: Final = 10.0
"""How long one process waits for another that is writing."""
# Whatever happens to the server or the way to it, an answer or an error comes within some 15 s.
# Source: libpq's connection parameters, https://www.postgresql.org/docs/current/libpq-connect.html
POSTGRESQL: Final[Mapping[str, Any]] = {
    "application_name": "aftercall",
    "connect_timeout": 5,
    "tcp_user_timeout": 10000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "options": "-c statement_timeout=15000 -c lock_timeout=10000",
}
ROOM_BYTES: Final = 2**23
"""What a disk that was full must have free again: the log of SQLite's writes grows to half of that."""
CHECKED: Final = "certificate verify failed"
OF_THE_ROW: Final = (DataError, IntegrityError, OverflowError, UnicodeError)
"""What a database says of one row, or its driver before it gets there; anything else it says concerns all of them."""


class Database:
    """The database of a URL, which may change, as a password does, with a schema of ours."""

    def __init__(self, url: Callable[[], str], schema: Schema) -> None:
        self._url = url
        self._schema = schema
        self._engine: Engine | None = None
        self._file = 0
        self._is_in_doubt = False

    def close(self) -> None:
        """Let go of the connection; the next use opens another."""
        if self._engine is not None:
            engine, self._engine = self._engine, None
            engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write, committed at its end."""
        try:
            with self._explained(), self._opened().execution_options(begins="BEGIN IMMEDIATE").begin() as connection:
                yield connection
        except DatabaseAway:
            self._is_in_doubt = True
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, and holds up no writer."""
        with self._explained(), self._opened().connect() as connection:
            yield connection

    def version(self) -> int:
        """The version of the schema that is there, 0 if there is none; changes nothing."""
        url = _checked(self._url(), self._schema)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return 0
        with self._explained():
            engine = self._engine or _engine_of(url, self._schema)
            try:
                with engine.connect() as connection:
                    return version_of(connection, self._schema)
            finally:
                if engine is not self._engine:
                    engine.dispose()

    def _opened(self) -> Engine:
        """The engine, its schema up to date; after a write that failed only if it can be written again.

        SQLite would write on into a file that somebody removed.
        """
        url = _checked(self._url(), self._schema)
        if self._engine is not None and self._file != _inode(url):
            self.close()
        if self._engine is None:
            _make_directory(url, self._schema)
            self._engine = _engine_of(url, self._schema)
            try:
                with self._engine.execution_options(begins="BEGIN IMMEDIATE").begin() as connection:
                    migrate(connection, self._schema)
                    if self._is_in_doubt:  # a standby can still be read, and a full disk takes a little again and again
                        _require_room(url, self._schema)
                        prove(connection, self._schema)
            except BaseException:
                self.close()
                raise
            self._file, self._is_in_doubt = _inode(url), False
        return self._engine

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OF_THE_ROW:
            raise
        except DBAPIError as error:
            self.close()
            raise _explanation(error, self._url(), self._schema) from error


def _checked(text: str, schema: Schema) -> URL:
    """The URL with the driver that we bring. Raises `SettingsError` for one that names no database of ours."""
    either = f"sqlite:///path/to/{schema.name}.db, or postgresql://user@host/name"
    try:
        url = make_url(text)
    except ArgumentError:
        raise SettingsError([f"{schema.key} is no address: {either}"]) from None
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        return url
    raise SettingsError([f"{schema.key}: the {schema.name} is kept in {either}"])


def _engine_of(url: URL, schema: Schema) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(url)
        given = {key: value for key, value in POSTGRESQL.items() if key not in url.query}
        return create_engine(url, pool_size=1, max_overflow=0, connect_args=given, hide_parameters=True)
    except (ImportError, NoSuchModuleError) as error:
        mend = "pip install 'aftercall[postgres]'"
        raise SettingsError(
            [f"{schema.key}: PostgreSQL needs psycopg, which is not installed: {mend} ({error})"]
        ) from error


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_S}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # sqlite3 begins transactions as it sees fit; this leaves it to us
        # (https://docs.sqlalchemy.org/en/21/dialects/sqlite.html, "Enabling Non-Legacy SQLite Transactional Modes").
        connection.isolation_level = None
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")  # what is acknowledged outlives a power cut

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE waits for other writers now, where a transaction that reads first could only fail later.
        connection.exec_driver_sql(connection.get_execution_options().get("begins", "BEGIN"))

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and the writer not wait for one another. Who switches second is refused rather than made to wait."""
    retrying = Retrying(
        retry=retry_if_exception_type(sqlite3.OperationalError),
        stop=stop_after_delay(SQLITE_BUSY_S),
        wait=wait_random(0.01, 0.1),
        reraise=True,
    )
    retrying(connection.execute, "PRAGMA journal_mode = WAL")


def _make_directory(url: URL, schema: Schema) -> None:
    if url.get_backend_name() != "sqlite":
        return
    directory = Path(url.database or "").parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        told = f"{directory} cannot be made ({error.strerror}): name a directory that this user may write"
        raise SettingsError([f"{schema.key}: {told}"]) from error


def _require_room(url: URL, schema: Schema) -> None:
    if url.get_backend_name() == "sqlite" and disk_usage(Path(url.database or "").parent).free < ROOM_BYTES:
        told = f"the disk of {url.database} is full: make room there, or name another place in {schema.key}"
        raise DatabaseAway(told)


def _inode(url: URL) -> int:
    if url.get_backend_name() != "sqlite":
        return 0
    try:
        return Path(url.database or "").stat().st_ino
    except OSError:
        return -1


def _explanation(error: DBAPIError, url: str, schema: Schema) -> Exception:
    """What went wrong, in words an operator can act upon; neither the statement nor a password is in them."""
    words = _of_driver(" ".join(str(error.orig).split())[:400])
    where = make_url(url).render_as_string(hide_password=True)
    if "unable to open database file" in words or "readonly database" in words:
        told = f"{where} cannot be written ({words}): name a file that this user may write"
        return SettingsError([f"{schema.key}: {told}"])
    if "not a database" in words or "malformed" in words:
        return DatabaseAway(f"{where} is damaged ({words}): put it aside, or a backup of it in its place")
    return DatabaseAway(f"the {schema.name}'s database does not answer ({words}): check it, and {schema.key} ({where})")


def _of_driver(words: str) -> str:
    """The driver's words: with what it leaves out of a certificate, and without its advice not to check any."""
    told = words.partition(" Either provide the file")[0]
    return f"{told}: it has expired, or is of a CA that sslrootcert does not name" if told.endswith(CHECKED) else told


def insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that knows conflicts: both databases do, each in a dialect of SQLAlchemy's."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
