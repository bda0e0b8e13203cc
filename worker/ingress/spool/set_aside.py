"""The records that the broker could not take, for `aftercall dead`: listed, shown, replayed and discarded.

For any process, whether or not the endpoint that keeps the files runs meanwhile. Every function reads the folder of
`AFTERCALL_SPOOL_DIR` and raises `SpoolFailed` if a file of it cannot be read or written.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from consumers.messages import Message
from worker.ingress.spool.rows import COLUMNS, SCHEMA, SUFFIX, connect, is_corrupted, message_of
from worker.ingress.spool.writer import SpoolFailed

LISTED: Final = (
    "SELECT id, kept_at, aside_at, reason, detail, size, exchange, routing_key, type, call_id, content_type,"
    " content_encoding, headers, X'' FROM records WHERE aside_at IS NOT NULL ORDER BY id"
)
SHOWN: Final = (
    f"SELECT id, kept_at, aside_at, reason, detail, size, {COLUMNS} FROM records"  # noqa: S608  # names of columns
    " WHERE aside_at IS NOT NULL AND id = ?"
)


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A record set aside. Times are epoch seconds, `size` is in bytes.

    `reason` is a dead letter's: `too-large`, `error`, or `undecodable` for one whose headers the disk damaged and whose
    `message` has none.
    """

    id: str
    kept_at: float
    aside_at: float
    reason: str
    detail: str
    size: int
    message: Message


def list_set_aside(folder: Path) -> list[SetAside]:
    """All of them, oldest first; their messages without the bodies."""
    found: list[SetAside] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with _opened(path) as connection:
            found += [_record(path, row) for row in connection.execute(LISTED)]
    return sorted(found, key=lambda record: record.kept_at)


def show_set_aside(folder: Path, id_: str) -> SetAside | None:
    """One of them, its message whole; None if there is none of that id."""
    path, number = _place(folder, id_)
    with _opened(path) as connection:
        rows = connection.execute(SHOWN, (number,)).fetchall()
    return _record(path, rows[0]) if rows else None


def replay_set_aside(folder: Path, id_: str) -> bool:
    """Hand it back to the drain, which tries it again within seconds if the endpoint runs; False if there is none."""
    change = "UPDATE records SET aside_at = NULL, reason = NULL, detail = NULL WHERE aside_at IS NOT NULL AND id = ?"
    return _changed(folder, id_, change)


def discard_set_aside(folder: Path, id_: str) -> bool:
    """Delete it for good; False if there is none."""
    return _changed(folder, id_, "DELETE FROM records WHERE aside_at IS NOT NULL AND id = ?")


def _changed(folder: Path, id_: str, change: str) -> bool:
    path, number = _place(folder, id_)
    with _opened(path) as connection:
        return connection.execute(change, (number,)).rowcount > 0


def _place(folder: Path, id_: str) -> tuple[Path, int]:
    """The file and number of an id, `spool/<file>/<number>`; an id of another form names nothing that exists."""
    prefix, _, rest = id_.partition("/")
    name, _, number = rest.partition("/")
    is_ours = prefix == "spool" and name.isalnum() and number.isdecimal()
    return folder / f"{name if is_ours else 'none'}{SUFFIX}", int(number) if is_ours else 0


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file; one that is not there, or is corrupted and about to be quarantined by the endpoint, has no records."""
    try:
        with closing(_connection(path)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise SpoolFailed(f"{path}: {error}") from error


def _connection(path: Path) -> sqlite3.Connection:
    try:
        if path.exists():
            return connect(path)
    except sqlite3.Error as error:
        if not is_corrupted(error):
            raise
    return _empty()


def _empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(SCHEMA)
    return connection


def _record(path: Path, row: Sequence[Any]) -> SetAside:
    number, kept_at, aside_at, reason, detail, size, *columns = row
    try:
        message = message_of(columns)
    except ValueError:
        message = message_of([*columns[:6], msgspec.msgpack.encode({}), columns[7]])
    return SetAside(
        id=f"spool/{path.stem}/{number}",
        kept_at=kept_at,
        aside_at=aside_at,
        reason=reason,
        detail=detail,
        size=size,
        message=message,
    )
