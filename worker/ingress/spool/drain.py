"""The drain: takes what waits in the spool to the broker, oldest first, and deletes it once confirmed.

A crash between the confirm and the deletion publishes a message twice, under the same `ce-id`; none is lost.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from consumers.outcomes import TooLarge
from worker.broker.publisher import PublishFailed
from worker.ingress.spool.file import Record
from worker.ingress.spool.keeper import Act, Gate
from worker.ingress.spool.writer import Spool, SpoolFailed
from worker.operate.telemetry import logger

IN_FLIGHT: Final = 32
"""Of the publisher's 256 places: the rest are for webhooks that come in meanwhile."""
PAUSE_S: Final = 0.25
TEND_EVERY_S: Final = 15.0
MEND_EVERY_S: Final = 1.0
UNBLOCKED_S: Final = 5.0


class Drain:
    """Empties a spool by `publish`, whenever `unblocked` returns: the broker is there, and no alarm blocks it."""

    def __init__(self, spool: Spool, publish: Act, gate: Gate, unblocked: Callable[[], Awaitable[None]]) -> None:
        self._spool = spool
        self._publish = publish
        self._gate = gate
        self._unblocked = unblocked
        self._confirmed: list[Record] = []
        self._stopping = asyncio.Event()
        self._tended_at = 0.0

    def stop(self) -> None:
        """Publish no further records; `run` returns when those in flight are settled."""
        self._stopping.set()

    async def run(self) -> None:
        """Drain until stopped."""
        while not self._stopping.is_set():
            has_moved = False
            with suppress(SpoolFailed):  # the spool has told of it
                await self._tend()
                has_moved = await self.step()
            if not has_moved:
                await self._until_stopped(PAUSE_S)
        with suppress(SpoolFailed):
            await self._forget()

    async def step(self) -> bool:
        """Publish some records and delete them; whether any was. Raises `SpoolFailed`."""
        await self._forget()
        if not self._spool.totals.waiting or not await self._takes():
            return False
        count = 1 if self._gate.is_shut else IN_FLIGHT
        records = self._gate.choose(await self._spool.oldest(count, self._gate.waiting()))
        outcomes = await asyncio.gather(*(self._send(record) for record in records))
        await self._forget()
        if any(outcomes) and not self._spool.totals.waiting:
            logger().info("spool.drained")
        return any(outcomes)

    async def _forget(self) -> None:
        """Delete what is confirmed; as long as the disk refuses, nothing of it is published again."""
        if self._confirmed:
            await self._spool.forget(self._confirmed)
            self._confirmed.clear()

    async def _takes(self) -> bool:
        """Whether the broker may be tried; a stop is not kept waiting."""
        if not self._gate.is_connected:
            return False
        unblocked = asyncio.ensure_future(self._unblocked())
        await self._until_stopped(UNBLOCKED_S, unblocked)
        return unblocked.done() and not unblocked.cancelled() and unblocked.exception() is None

    async def _send(self, record: Record) -> bool:
        """Publish a record; whether it is out of the way. What becomes of it is settled here, whatever happens."""
        try:
            await self._publish(record.message)
        except TooLarge as error:
            return await self._set_aside(record, "too-large", str(error))
        except PublishFailed as error:
            self._gate.failed(record.message, error)
            return False
        except (TypeError, ValueError) as error:
            return await self._set_aside(record, "error", f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001  # a bug of ours: the record stays, its destination rests
            logger().error("publish.failed", call_id=record.message.call_id, exc_info=True)
            self._gate.failed(record.message, PublishFailed(str(error)))
            return False
        self._gate.succeeded(record.message)
        self._confirmed.append(record)
        return True

    async def _set_aside(self, record: Record, reason: str, detail: str) -> bool:
        with suppress(SpoolFailed):
            await self._spool.set_aside(record, reason, detail)
            logger().error("spool.set_aside", call_id=record.message.call_id, reason=reason, detail=detail)
            return True
        return False

    async def _tend(self) -> None:
        every_s = MEND_EVERY_S if self._spool.trouble else TEND_EVERY_S
        if time.monotonic() - self._tended_at >= every_s:
            self._tended_at = time.monotonic()
            await self._spool.tend()

    async def _until_stopped(self, within_s: float, *others: asyncio.Future[Any]) -> None:
        """Wait until stopped, or one of others is done, or the time is up; what has not happened is cancelled."""
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._stopping.wait()), *others]
        try:
            await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
