"""Looking at a spool folder from outside, whether or not an endpoint uses it. Nothing is locked or changed there."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from worker.ingress.spool.folder import RESERVE_BYTES
from worker.ingress.spool.rows import BUSY_S, SUFFIX
from worker.ingress.spool.writer import SpoolFailed

TOTALS: Final = (
    "SELECT count(*) - count(aside_at), count(aside_at), min(CASE WHEN aside_at IS NULL THEN kept_at END) FROM records"
)
KEPT: Final = "SELECT kept_at FROM records WHERE aside_at IS NULL AND call_id = ?"


class Waiting(msgspec.Struct, frozen=True):
    """What lies in a spool: records that wait for the broker, those set aside, and when the oldest came (epoch s)."""

    waiting: int = 0
    aside: int = 0
    oldest_at: float | None = None


class Room(msgspec.Struct, frozen=True):
    """Whether a spool can be written in a folder: `trouble` says why not; `is_made` whether the folder exists."""

    trouble: str
    is_made: bool


def room_in(folder: Path) -> Room:
    """Try the folder with a file that is gone again at once; of a folder still to be made, the one it comes into."""
    is_made = folder.exists()
    place = folder if is_made else next((each for each in folder.absolute().parents if each.exists()), Path("/"))
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"aftercall doctor")
            os.fsync(file.fileno())
        disk = os.statvfs(place)
    except OSError as error:
        return Room(f"{place}: {error.strerror or error}", is_made)
    free = disk.f_bavail * disk.f_frsize
    little = f"{place} has only {free // 2**20} MiB free, and the spool keeps {RESERVE_BYTES // 2**20} MiB to drain in"
    return Room(little if free < RESERVE_BYTES else "", is_made)


def waiting_in(folder: Path) -> Waiting:
    """What lies in all files of the folder. Raises `SpoolFailed` if one cannot be read."""
    found = Waiting()
    for waiting, aside, oldest_at in _rows(folder, TOTALS):
        oldest = [at for at in (found.oldest_at, oldest_at) if at is not None]
        found = Waiting(found.waiting + waiting, found.aside + aside, min(oldest, default=None))
    return found


def kept_for(folder: Path, call_id: str) -> list[float]:
    """When notifications of a call that still wait in the folder were kept (epoch s). Raises `SpoolFailed`."""
    return sorted(at for (at,) in _rows(folder, KEPT, call_id))


def _rows(folder: Path, query: str, *values: str) -> Iterator[tuple[Any, ...]]:
    """What each file of the folder answers."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            address = f"{path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=BUSY_S)) as connection:
                yield from connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if path.exists():  # or it was drained meanwhile, and removed
                raise SpoolFailed(f"{path}: {error}") from error
