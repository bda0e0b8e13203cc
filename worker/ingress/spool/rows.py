"""The rows of a spool file: its schema, messages as rows and back, and a connection to it."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from consumers.messages import Message

SCHEMA_VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- in the order they were kept, and never given twice
    kept_at REAL NOT NULL,                 -- epoch seconds
    size INTEGER NOT NULL,                 -- of headers and body, in bytes
    aside_at REAL,                         -- when the broker turned out unable to take it, and why
    reason TEXT,
    detail TEXT,
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    type TEXT NOT NULL,
    call_id TEXT NOT NULL,
    content_type TEXT,
    content_encoding TEXT,
    headers BLOB NOT NULL,                 -- MessagePack, which keeps bytes and text apart
    body BLOB NOT NULL                     -- last: the columns before it are read without it
)
"""
COLUMNS: Final = "exchange, routing_key, type, call_id, content_type, content_encoding, headers, body"
INSERT: Final = f"INSERT INTO records (kept_at, size, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
SUFFIX: Final = ".db"
BUSY_S: Final = 5.0
CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Destination = tuple[str, str]
"""Exchange and routing key."""
Row = tuple[Any, ...]


def row_of(message: Message, kept_at: float) -> Row:
    """A message as a row, made before anything is written: what cannot be written fails here. Raises `ValueError`."""
    headers = msgspec.msgpack.encode(dict(message.headers))
    texts = (message.exchange, message.routing_key, message.type, message.call_id)
    "".join(texts).encode()  # half a surrogate pair is no text for a database either
    size = len(headers) + len(message.body)
    return (kept_at, size, *texts, message.content_type, message.content_encoding, headers, message.body)


def message_of(row: Sequence[Any]) -> Message:
    """The message of a row of `COLUMNS`."""
    exchange, routing_key, type_, call_id, content_type, content_encoding, headers, body = row
    return Message(
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        type=type_,
        call_id=call_id,
        headers=msgspec.msgpack.decode(headers),
        content_type=content_type,
        content_encoding=content_encoding,
    )


def connect(path: Path) -> sqlite3.Connection:
    """An autocommitting connection to a spool file that exists. Raises `sqlite3.Error`."""
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def corrupted(detail: str) -> sqlite3.DatabaseError:
    """The error SQLite raises itself when it stumbles upon such a file."""
    error = sqlite3.DatabaseError(detail)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def is_corrupted(error: BaseException) -> bool:
    """Whether an error says that a file is no sound database, rather than that the disk fails."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in CORRUPT
