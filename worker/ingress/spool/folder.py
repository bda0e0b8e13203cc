"""The spool's folder: which of its files are this process's, and what becomes of those that dead processes left."""

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from worker.ingress.spool.file import SpoolFile, lock_of, lock_path, quarantine
from worker.ingress.spool.rows import SUFFIX, is_corrupted
from worker.operate.telemetry import logger

RESERVE_BYTES: Final = 2**26
"""No new record when the disk has less room than this: deleting needs room too, and a full spool must drain.

Up to a half of it may be room inside the file, left by records that are deleted.
"""

SLACK_BYTES: Final = 2**26
"""An emptied file of more than this is made small again, and any emptied file when the disk is short of room."""


class SpoolFolder:
    """The files of one process: one of its own to write to, and those it adopted. Used by one thread, but for `files`.

    Methods raise `OSError` and `sqlite3.Error`.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.files: tuple[SpoolFile, ...] = ()
        self._clock = clock
        self._own: SpoolFile | None = None
        self._current: SpoolFile | None = None
        self._joined: list[SpoolFile] = []

    def open(self) -> None:
        """Make the folder, take what lies in it unowned, and be able to write; only a full disk may prevent that."""
        try:
            _make(self.path)
            self._adopt()
            with self.transaction():
                self.writable().prove()
        except (sqlite3.Error, OSError) as error:
            if not self.path.is_dir() or self.has_room():
                raise
            logger().error("spool.failed", detail=f"{error}: the disk is full")

    def writable(self) -> SpoolFile:
        """The file to write to, within the transaction; made if there is none. Raises `OSError` on a full disk."""
        if self._own is None or not self._own.is_in_place():
            self._own = self._another()
        if not self.has_room():
            raise OSError(errno.ENOSPC, "the disk has less room left than the spool needs to drain")
        return self.joined(self._own)

    def joined(self, file: SpoolFile) -> SpoolFile:
        """`file`, within the transaction."""
        self._current = file
        if file not in self._joined:
            file.begin()
            self._joined.append(file)
        return file

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit every file that joined, or none that has not yet committed."""
        try:
            yield
            for file in self._joined:
                self._current = file
                file.commit()
        except BaseException:
            for file in self._joined:
                file.rollback()
            raise
        finally:
            self._joined = []

    def has_room(self) -> bool:
        """Whether the disk has room for more records."""
        free = self._free_bytes()
        inside = self._own.free_bytes() if self._own and free < RESERVE_BYTES else 0
        return free >= RESERVE_BYTES // 2 and free + inside >= RESERVE_BYTES

    def _free_bytes(self) -> int:
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize

    def tend(self) -> None:
        """Adopt what dead processes left, and give back the space of what is drained."""
        self._drop(tuple(file for file in self.files if not file.is_in_place()))
        self._adopt()
        for file in self.files:
            if file in self._joined:
                continue
            file.look()
            if file is self._own:
                file.shrink(SLACK_BYTES if self._free_bytes() >= RESERVE_BYTES else 0)
            elif not (file.totals.waiting or file.totals.aside):
                self.files = tuple(each for each in self.files if each is not file)
                file.remove()

    def quarantine(self, error: Exception) -> bool:
        """Put the file that an error came from out of the way; whether there was one."""
        file = self._current
        if file is None or file not in self.files:
            return False
        self.files = tuple(each for each in self.files if each is not file)
        self._own = None if self._own is file else self._own
        self._tell_quarantined(file.quarantine(self._clock()), error)
        return True

    def close(self) -> None:
        """Close and unlock every file."""
        self._drop(self.files)

    def _another(self) -> SpoolFile:
        self._drop((self._own,) if self._own else ())
        adopted = [file for file in self.files if file.is_in_place()]
        if adopted:
            return adopted[0]
        _make(self.path)
        file = SpoolFile.new(self.path)
        self.files = (*self.files, file)
        return file

    def _adopt(self) -> None:
        ours = {file.path for file in self.files}
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            if path not in ours and (lock := lock_of(path)) is not None:
                self._take(path, lock)

    def _take(self, path: Path, lock: int) -> None:
        try:
            file = SpoolFile(path, lock)
        except (sqlite3.Error, OSError) as error:
            if is_corrupted(error):
                self._tell_quarantined(quarantine(path, self._clock()), error)
                lock_path(path).unlink(missing_ok=True)
            else:
                logger().error("spool.failed", detail=f"{path} cannot be opened: {error}")
            os.close(lock)
            return
        self.files = (*self.files, file)
        self._own = self._own or file
        if file.totals.waiting or file.totals.aside:
            logger().info("spool.adopted", file=path.name, waiting=file.totals.waiting, aside=file.totals.aside)

    def _drop(self, files: tuple[SpoolFile, ...]) -> None:
        self.files = tuple(file for file in self.files if file not in files)
        for file in files:
            self._own = None if self._own is file else self._own
            file.close()

    def _tell_quarantined(self, path: Path, error: Exception) -> None:
        logger().error("spool.quarantined", file=str(path), detail=str(error))


def _make(path: Path) -> None:
    """Make the folder, for us alone, and see to it that it outlives a power cut."""
    if path.is_dir():
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
