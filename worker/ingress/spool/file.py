"""One file of the spool: an SQLite database with a lock beside it, which one process at a time fills and drains.

WAL with `synchronous=FULL`: what a commit has returned for is on the disk, whatever becomes of process and machine;
with NORMAL a power cut takes the last commits along (https://sqlite.org/pragma.html#pragma_synchronous).
Other processes may look and take out set-aside records meanwhile: SQLite's own locks see to that.
"""

import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from consumers.messages import Message
from worker.ingress.spool.rows import (
    COLUMNS,
    INSERT,
    SCHEMA,
    SCHEMA_VERSION,
    SUFFIX,
    Destination,
    Row,
    connect,
    corrupted,
    message_of,
)


class Record(msgspec.Struct, frozen=True):
    """A message as it lies in a file; `id` is its number there, `kept_at` epoch seconds."""

    file: "SpoolFile"
    id: int
    kept_at: float
    message: Message


class Totals(msgspec.Struct):
    """What lies in a file: records that wait, those set aside, the bytes of both, and when the oldest waiting came."""

    waiting: int = 0
    aside: int = 0
    size: int = 0
    oldest_at: float | None = None


class SpoolFile:
    """A file that this process has locked. Used by one thread; its methods raise `sqlite3.Error` or `OSError`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.totals = Totals()
        self._lock = lock
        self._connection = connect(path)
        try:
            self._check()
            self._connection.execute(SCHEMA)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._inode = path.stat().st_ino
            self._seen = self._version()
            self.recount()
        except (sqlite3.Error, OSError):
            self._connection.close()
            raise

    @classmethod
    def new(cls, folder: Path) -> Self:
        """A file of our own."""
        path = folder / f"{uuid.uuid4().hex[:12]}{SUFFIX}"
        lock = lock_of(path)
        if lock is None:
            raise OSError(f"{path} was taken by another process")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it holds what callers said
            return cls(path, lock)
        except (sqlite3.Error, OSError):
            os.close(lock)
            raise

    def _check(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise OSError(f"{self.path} was written by a newer version of aftercall")
        ((verdict,), *_) = self._connection.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise corrupted(f"{self.path}: {verdict}")

    def begin(self) -> None:
        """Begin a transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self.look()

    def look(self) -> None:
        """Notice what another process took out or handed back."""
        if (version := self._version()) != self._seen:
            self._seen = version
            self.recount()

    def commit(self) -> None:
        """End the transaction: what it wrote is on the disk."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, as far as it is not undone already."""
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        with suppress(sqlite3.Error):
            self.recount()

    def append(self, row: Row) -> None:
        """Write a row made by `row_of`."""
        self._connection.execute(INSERT, row)
        self.totals.waiting += 1
        self.totals.size += row[1]
        if self.totals.oldest_at is None:
            self.totals.oldest_at = row[0]

    def oldest(self, count: int, size_max: int, without: Collection[Destination]) -> list[Record]:
        """The oldest records that wait: at most `count`, and of `size_max` bytes or one; none for some destinations."""
        places = ", ".join(["(?, ?)"] * len(without))
        query = (
            "SELECT id, kept_at, size FROM records WHERE aside_at IS NULL"  # noqa: S608  # only question marks go in
            + (f" AND (exchange, routing_key) NOT IN (VALUES {places})" if without else "")
            + " ORDER BY id LIMIT ?"
        )
        given = [part for destination in without for part in destination]
        found = self._connection.execute(query, (*given, count)).fetchall()
        records = (self._record(id_, kept_at) for id_, kept_at in _within(found, size_max))
        return [record for record in records if record is not None]

    def _record(self, id_: int, kept_at: float) -> Record | None:
        row = self._connection.execute(f"SELECT {COLUMNS} FROM records WHERE id = ?", (id_,)).fetchone()  # noqa: S608
        try:
            return Record(self, id_, kept_at, message_of(row))
        except ValueError as error:  # one damaged record must not keep the others waiting
            self.set_aside(id_, "undecodable", str(error), time.time())
            return None

    def forget(self, ids: Sequence[int]) -> None:
        """Delete records that waited; one that is gone already is no trouble."""
        query = "DELETE FROM records WHERE id = ? AND aside_at IS NULL RETURNING size"
        for id_ in ids:
            for (size,) in self._connection.execute(query, (id_,)).fetchall():
                self.totals.waiting -= 1
                self.totals.size -= size
        self.totals.oldest_at = self._oldest_at()

    def set_aside(self, id_: int, reason: str, detail: str, now: float) -> None:
        """Keep a record out of the drain until an operator decides."""
        query = "UPDATE records SET aside_at = ?, reason = ?, detail = ? WHERE id = ?"
        self._connection.execute(query, (now, reason, detail, id_))
        self.recount()

    def prove(self) -> None:
        """Write something, within a transaction: only that tells whether the disk still takes it."""
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def recount(self) -> None:
        """Count anew what lies in the file."""
        waiting, aside, size = self._connection.execute(
            "SELECT COUNT(*) - COUNT(aside_at), COUNT(aside_at), COALESCE(SUM(size), 0) FROM records"
        ).fetchone()
        self.totals = Totals(waiting, aside, size, self._oldest_at())

    def _oldest_at(self) -> float | None:
        query = "SELECT kept_at FROM records WHERE aside_at IS NULL ORDER BY id LIMIT 1"
        found = self._connection.execute(query).fetchone()
        return found[0] if found else None

    def is_in_place(self) -> bool:
        """Whether the file is where it was, and not removed or replaced under our feet."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def free_bytes(self) -> int:
        """The room inside the file that deleted records left."""
        (pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        (page_bytes,) = self._connection.execute("PRAGMA page_size").fetchone()
        return int(pages * page_bytes)

    def shrink(self, slack_bytes: int) -> None:
        """Give back the disk space of a file that is empty but larger than this."""
        if not (self.totals.waiting or self.totals.aside) and self.free_bytes() > slack_bytes:
            with suppress(sqlite3.Error):  # somebody looks at it, or the disk is full: another time
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close and unlock; the records stay."""
        with suppress(sqlite3.Error):
            self._connection.close()
        os.close(self._lock)

    def quarantine(self, now: float) -> Path:
        """Close the file, which is corrupted, and rename it out of the way. Returns its new path."""
        with suppress(sqlite3.Error):
            self._connection.close()
        kept = quarantine(self.path, now)
        lock_path(self.path).unlink(missing_ok=True)
        os.close(self._lock)
        return kept

    def remove(self) -> None:
        """Remove the file, which is empty, and its lock."""
        self._connection.close()
        for path in (*parts_of(self.path), lock_path(self.path)):
            path.unlink(missing_ok=True)
        os.close(self._lock)

    def _version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)


def _within(found: list[tuple[int, float, int]], size_max: int) -> list[tuple[int, float]]:
    chosen: list[tuple[int, float]] = []
    total = 0
    for id_, kept_at, size in found:
        total += size
        if chosen and total > size_max:
            break
        chosen.append((id_, kept_at))
    return chosen


def parts_of(path: Path) -> tuple[Path, ...]:
    """A database and the files that SQLite keeps beside it: without them it is not whole."""
    return tuple(path.with_name(path.name + part) for part in ("", "-wal", "-shm"))


def lock_path(path: Path) -> Path:
    """The file whose lock says that somebody has `path`. A file of its own: SQLite's locks live in the database."""
    return path.with_suffix(".lock")


def lock_of(path: Path) -> int | None:
    """A descriptor that holds the lock of `path`, or None if another process has it. Raises `OSError`."""
    place = lock_path(path)
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its holder may have removed it between our opening and locking: then it locks nothing.
        if os.fstat(descriptor).st_ino == place.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def quarantine(path: Path, now: float) -> Path:
    """Rename a corrupted file out of the way, with the time in its name; it is never deleted. Returns the new path."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    kept = path.with_name(f"{path.stem}.corrupted-{stamp}-{uuid.uuid4().hex[:4]}")
    for old, new in zip(parts_of(path), parts_of(kept), strict=True):
        with suppress(FileNotFoundError):
            old.rename(new)
    return kept
