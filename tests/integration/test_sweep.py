"""The sweep with a real ledger, over hours of its own clock; its notes are written down as `consume ledger` does it."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consumers.ledger import NOTED, Event, keep
from consumers.messages import Delivery, Message
from consumers.slices import PAGE_BYTES, Slice
from consumers.timestamps import iso
from worker.clients.ledger.ledger import Ledger, open_ledger
from worker.ingress.sweep import Found, Sweeping, sweep
from worker.settings import load

START = 1_800_000_000.0
EVERY_S, GRACE_S = 300.0, 120.0


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_ledger(load({"AFTERCALL_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db"})) as opened:
        yield opened


class World:
    """Vapi's list, the way to the broker and the clock; a notification goes nowhere, as after its queue was purged."""

    def __init__(self, ledger: Ledger, call_bytes: int = 0) -> None:
        self.now = START
        self.ledger = ledger
        self.calls: dict[str, float] = {}
        self.sent_in: list[str] = []
        self._name = "x" * call_bytes

    async def end_call(self, call_id: str, kind: Any = None, ago_s: float = 180) -> None:
        """End a call; `kind` is what the ledger has of it."""
        self.calls[call_id] = self.now - ago_s
        if kind:
            event = Event(account="default", call_id=call_id, kind=kind, at=self.now, event_id=f"{call_id}/{kind}")
            await self.ledger.record(event)

    async def list_calls(self, part: Slice, limit: int) -> bytes:
        listed = [(at, call_id) for call_id, at in self.calls.items() if part.since <= at < part.until]
        listed.sort(reverse=True)
        return b"[%b]" % b",".join(self._document(call_id, at) for at, call_id in listed[:limit])

    def _document(self, call_id: str, at: float) -> bytes:
        changed = f'"id":"{call_id}","endedAt":"{iso(at)}","updatedAt":"{iso(at)}"'
        return f'{{{changed},"status":"ended","name":"{self._name}"}}'.encode()

    async def publish(self, message: Message) -> None:
        if message.type == NOTED:
            delivery = Delivery(queue="calls.ledger", body=b"", headers=message.headers, type=NOTED)
            await keep(delivery, self.now, record=self.ledger.record)
        else:
            self.sent_in.append(message.call_id)

    async def backlog(self) -> int:
        return 0

    async def sweep(self) -> Found:
        sweeping = Sweeping(
            account="default",
            list_calls=self.list_calls,
            books=self.ledger,
            publish=self.publish,
            backlog=self.backlog,
            grace_s=GRACE_S,
            clock=lambda: self.now,
        )
        found = await sweep(sweeping)
        assert found
        return found

    async def sweep_for(self, hours: float) -> None:
        """Sweep every five minutes, with a call that goes its way in between."""
        for nth in range(round(hours * 3600 / EVERY_S)):
            await self.end_call(f"well-{nth}", "enriched")
            await self.sweep()
            self.now += EVERY_S


@pytest.mark.parametrize("kind", ["retried", "held", "swept"])
async def test_a_call_that_was_on_its_way_and_got_lost_is_sent_in_however_far_the_sweep_has_come(
    ledger: Ledger, kind: str
) -> None:
    world = World(ledger)
    await world.end_call("lost", kind)

    await world.sweep_for(hours=1)

    assert world.sent_in == ["lost", "lost"], "after 17 minutes, and that being lost too, after 17 more"


async def test_once_all_is_settled_the_sweep_looks_no_further_back_than_its_overlap(ledger: Ledger) -> None:
    world = World(ledger)
    await world.end_call("late", "retried")
    await world.sweep_for(hours=0.5)
    assert (await ledger.watermark("default") or 0) == START - 180

    await world.ledger.record(Event(account="default", call_id="late", kind="dead", at=world.now, event_id="late/dead"))
    await world.sweep_for(hours=0.1)

    assert (await ledger.watermark("default") or 0) > world.now - EVERY_S - GRACE_S - 1


async def peak_bytes(world: World, calls: int) -> int:
    """What a sweep over so many known calls, one a second, has in memory at its peak."""
    await asyncio.gather(*(world.end_call(f"call-{nth}", "enriched", 200 + nth) for nth in range(calls)))
    tracemalloc.start()
    try:
        found = await world.sweep()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert found.verdicts["known"] == calls


async def test_the_memory_of_a_sweep_is_that_of_a_few_answers_however_many_calls_are_known(tmp_path: Path) -> None:
    peaks = []
    for calls in (400, 2400):
        async with open_ledger(load({"AFTERCALL_LEDGER_URL": f"sqlite:///{tmp_path}/{calls}.db"})) as ledger:
            peaks.append(await peak_bytes(World(ledger, call_bytes=40_000), calls))

    assert max(peaks) < 5 * PAGE_BYTES, "the list itself is made in this process too"
    assert peaks[1] < 1.2 * peaks[0]
