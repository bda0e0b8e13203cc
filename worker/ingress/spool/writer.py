"""The spool: where messages wait on this machine's disk while the broker does not take them.

One thread does all the writing. What waits for it at a moment goes to disk in one transaction, so that a hundred
webhooks cost one fsync; whoever asked is told after the commit.
"""

import asyncio
import heapq
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from consumers.messages import Message
from worker.ingress.spool.file import Record, Totals
from worker.ingress.spool.folder import SpoolFolder
from worker.ingress.spool.rows import Destination, is_corrupted, row_of
from worker.operate.telemetry import logger

T = TypeVar("T")
GROUP_MAX: Final = 512
GROUP_BYTES: Final = 2**24
READ_BYTES: Final = 2**24


class SpoolFailed(Exception):
    """The spool did not take a message, or could not do what it was asked: full, read-only, no room, a failing disk."""


class _Job(msgspec.Struct, frozen=True):
    """Something to do in the writer's thread, and who is to be told."""

    do: Callable[[], Any]
    told: asyncio.Future[Any]
    writes: bool
    size: int


class Spool:
    """The spool of one process, in a folder shared with others of the machine; holds at most `max_bytes` of payload.

    The process has a file of its own, and those of dead processes that it adopted. Every method but the properties
    raises `SpoolFailed`.
    """

    def __init__(self, folder: Path, max_bytes: int, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = SpoolFolder(folder, clock)
        self._max_bytes = max_bytes
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._trouble = ""
        self._is_closed = True

    async def open(self) -> None:
        """Begin. A folder that cannot be used is `SpoolFailed`; a full disk is not, since it may pass."""
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._thread.start()
        try:
            await self._ask(self._folder.open)
        except SpoolFailed:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was asked, close the files and unlock them."""
        if not self._is_closed:
            self._is_closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    @property
    def totals(self) -> Totals:
        """What lies in all files of this process: records that wait and set aside, bytes, the oldest one's time."""
        each = [file.totals for file in self._folder.files]
        oldest = [totals.oldest_at for totals in each if totals.oldest_at is not None]
        waiting, aside = sum(totals.waiting for totals in each), sum(totals.aside for totals in each)
        return Totals(waiting, aside, sum(totals.size for totals in each), min(oldest, default=None))

    @property
    def trouble(self) -> str:
        """Why the spool cannot take a message at this moment, as far as is known; empty if it can."""
        return self._trouble or (self._full() if self.totals.size >= self._max_bytes else "")

    async def keep(self, message: Message) -> None:
        """Put a message on disk; returns once it is there for good."""
        try:
            row = row_of(message, self._clock())
        except (TypeError, ValueError, OverflowError) as error:
            raise SpoolFailed(f"the message cannot be written: {error}") from error
        size = row[1]

        def write() -> None:
            if self.totals.size + size > self._max_bytes:
                raise SpoolFailed(self._full())
            self._folder.writable().append(row)

        await self._ask(write, writes=True, size=size)

    async def oldest(self, count: int, without: Collection[Destination] = ()) -> list[Record]:
        """The oldest records that wait, at most `count`, none of them for the destinations `without`."""

        def read() -> list[Record]:
            each = [
                self._folder.joined(file).oldest(count, READ_BYTES, without)
                for file in self._folder.files
                if file.totals.waiting
            ]
            return list(heapq.merge(*each, key=lambda record: record.kept_at))[:count]

        return await self._ask(read)

    async def forget(self, records: Sequence[Record]) -> None:
        """Delete records: the broker has them."""

        def delete() -> None:
            for file in self._folder.files:
                if ids := [record.id for record in records if record.file is file]:
                    self._folder.joined(file).forget(ids)

        await self._ask(delete)

    async def set_aside(self, record: Record, reason: str, detail: str) -> None:
        """Keep a record that the broker cannot take out of the drain, for `aftercall dead` to show and replay."""

        def mark() -> None:
            if record.file in self._folder.files:
                self._folder.joined(record.file).set_aside(record.id, reason, detail, self._clock())

        await self._ask(mark)

    async def tend(self) -> None:
        """Adopt what dead processes left, remove what is drained, and prove that the disk takes a write."""
        await self._ask(self._folder.tend)
        await self._ask(lambda: self._folder.writable().prove(), writes=True)

    async def _ask(self, do: Callable[[], T], *, writes: bool = False, size: int = 0) -> T:
        if self._is_closed:
            raise SpoolFailed("the spool is closed")
        told: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(do, told, writes, size))
        return await told

    def _full(self) -> str:
        return f"the spool is full: {self._max_bytes} bytes (AFTERCALL_SPOOL_MAX_BYTES)"

    # What follows runs in the writer's thread.

    def _work(self) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._group()
            if jobs:
                self._answer(self._results(jobs))
        self._folder.close()

    def _group(self) -> tuple[list[_Job], bool]:
        """All that waits at this moment, up to a limit; and whether more may come."""
        jobs: list[_Job] = []
        size = 0
        while not jobs or (len(jobs) < GROUP_MAX and size < GROUP_BYTES and not self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                return jobs, False
            jobs.append(job)
            size += job.size
        return jobs, True

    def _results(self, jobs: list[_Job]) -> list[tuple[_Job, Any]]:
        try:
            results = self._in_one_transaction(jobs)
        except Exception as error:  # noqa: BLE001  # the thread lives on, and whoever waits is told
            return self._after(error, jobs)
        if any(job.writes and not isinstance(result, SpoolFailed) for job, result in results):
            self._note("")
        return results

    def _in_one_transaction(self, jobs: list[_Job]) -> list[tuple[_Job, Any]]:
        """Do all of it, then commit; a single job's refusal is its own, an error of the disk is everyone's."""
        with self._folder.transaction():
            return [(job, self._outcome(job)) for job in jobs]

    @staticmethod
    def _outcome(job: _Job) -> Any:
        try:
            return job.do()
        except SpoolFailed as refusal:
            return refusal

    def _after(self, error: Exception, jobs: list[_Job]) -> list[tuple[_Job, Any]]:
        """What becomes of jobs whose transaction failed: again without the corrupted file, or each part for itself."""
        if is_corrupted(error) and self._folder.quarantine(error):
            return self._results(jobs)
        writes, others = [job for job in jobs if job.writes], [job for job in jobs if not job.writes]
        if writes and others:
            # A full disk takes no new records, and may well let go of old ones.
            return self._results(others) + self._results(writes)
        failed = SpoolFailed(f"the spool failed: {type(error).__name__}: {error}")
        failed.__cause__ = error
        if writes:
            self._note(str(failed))
        return [(job, failed) for job in jobs]

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            logger().error("spool.failed", detail=trouble)
        elif self._trouble and not trouble:
            logger().info("spool.recovered", was=self._trouble)
        self._trouble = trouble

    def _answer(self, results: list[tuple[_Job, Any]]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(_tell, results)


def _tell(results: list[tuple[_Job, Any]]) -> None:
    for job, result in results:
        if job.told.done():  # whoever asked has been cancelled
            continue
        if isinstance(result, SpoolFailed):
            job.told.set_exception(result)
        else:
            job.told.set_result(result)
