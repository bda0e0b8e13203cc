"""The spool against a model of it: whatever is kept, confirmed, set aside, crashed over and adopted, nothing is lost.

A crash is simulated by copying the files as they are at a moment between two commits, SQLite's log included, and going
on with the copy: what SIGKILL leaves. Commits that a crash may tear are the subject of test_spool_kill.py.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from consumers.messages import Message
from worker.ingress.spool.set_aside import discard_set_aside, list_set_aside, replay_set_aside, show_set_aside
from worker.ingress.spool.writer import Spool, SpoolFailed

MAX_BYTES = 20_000
RAM = Path("/dev/shm")  # thousands of commits, and what the disk does is the subject of others


class SpoolMachine(RuleBasedStateMachine):
    """Two processes that share a folder, and what should be in it."""

    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.base = Path(tempfile.mkdtemp(dir=RAM if RAM.is_dir() else None))
        self.folder = self.base / "0"
        self.generation = self.made = 0
        self.waiting: set[bytes] = set()
        self.aside: set[bytes] = set()
        self.spools: list[Spool] = []

    def do(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    @initialize()
    def start(self) -> None:
        self.spools = [Spool(self.folder, MAX_BYTES) for _ in range(2)]
        for spool in self.spools:
            self.do(spool.open())

    def teardown(self) -> None:
        for spool in self.spools:
            self.do(spool.close())
        self.runner.close()
        shutil.rmtree(self.base)

    @rule(which=st.integers(0, 1), sizes=st.lists(st.integers(0, 6000), min_size=1, max_size=6))
    def keep(self, which: int, sizes: list[int]) -> None:
        """Several at once: each is kept or refused, and refused only for want of room."""
        bodies = []
        for size in sizes:
            self.made += 1
            bodies.append(b"%06d" % self.made + bytes(size))
        for body, result in zip(bodies, self.do(self._keep_all(self.spools[which], bodies)), strict=True):
            assert result is None or isinstance(result, SpoolFailed)
            if result is None:
                self.waiting.add(body)

    @staticmethod
    async def _keep_all(spool: Spool, bodies: list[bytes]) -> list[Any]:
        messages = [Message(exchange="calls", routing_key="k", body=body, type="t") for body in bodies]
        return await asyncio.gather(*map(spool.keep, messages), return_exceptions=True)

    @rule(which=st.integers(0, 1), count=st.integers(1, 5))
    def confirm(self, which: int, count: int) -> None:
        """The broker took the oldest: they are deleted."""
        records = self.do(self.spools[which].oldest(count))
        bodies = [record.message.body for record in records]
        assert bodies == sorted(bodies), "oldest first"
        assert set(bodies) <= self.waiting
        self.do(self.spools[which].forget(records))
        self.waiting -= set(bodies)

    @rule(target=records, which=st.integers(0, 1))
    def set_aside(self, which: int) -> Any:
        records = self.do(self.spools[which].oldest(1))
        for record in records:
            self.do(self.spools[which].set_aside(record, "too-large", "why"))
            self.waiting.discard(record.message.body)
            self.aside.add(record.message.body)
        return multiple(*(record.message.body for record in records))

    @rule(body=consumes(records))
    def replay(self, body: bytes) -> None:
        self._with_id_of(body, replay_set_aside)
        self.aside.discard(body)
        self.waiting.add(body)

    @rule(body=consumes(records))
    def discard(self, body: bytes) -> None:
        self._with_id_of(body, discard_set_aside)
        self.aside.discard(body)

    def _with_id_of(self, body: bytes, act: Any) -> None:
        sizes = [each for each in list_set_aside(self.folder) if self._body(each.id) == body]
        assert len(sizes) == 1
        assert act(self.folder, sizes[0].id)

    def _body(self, id_: str) -> bytes:
        shown = show_set_aside(self.folder, id_)
        assert shown
        return shown.message.body

    @rule(which=st.integers(0, 1))
    def tend(self, which: int) -> None:
        self.do(self.spools[which].tend())

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        """One process ends in order and begins anew; it may get another's file, or the other adopt its."""
        self.do(self.spools[which].close())
        self.spools[which] = Spool(self.folder, MAX_BYTES)
        self.do(self.spools[which].open())

    @rule()
    def crash(self) -> None:
        """Both die at once: what is on the disk at this moment is all there is."""
        self.generation += 1
        copied = self.base / str(self.generation)
        shutil.copytree(self.folder, copied)
        for spool in self.spools:
            self.do(spool.close())
        self.folder = copied
        self.start()

    @invariant()
    def nothing_is_lost_and_nothing_comes_back(self) -> None:
        if not self.spools:
            return
        for spool in self.spools:
            self.do(spool.tend())
        found = [record.message.body for spool in self.spools for record in self.do(spool.oldest(10_000))]
        assert sorted(found) == sorted(self.waiting)
        assert sum(spool.totals.waiting for spool in self.spools) == len(self.waiting)
        assert sum(spool.totals.aside for spool in self.spools) == len(self.aside) == len(list_set_aside(self.folder))


TestSpool = SpoolMachine.TestCase
# Which records share a commit is up to the threads, so that a failure may not repeat: not shrunk, but shown whole.
TestSpool.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, phases=(Phase.explicit, Phase.generate)
)
