"""A drill from its beginning to its account."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError
from typing import Final

import aiohttp
import msgspec

from consumers.messages import UNROUTED
from worker.broker.reach import BrokerAway
from worker.simulate.account import EndedCall
from worker.simulate.drill import account as accounts
from worker.simulate.drill.account import Account, Struck
from worker.simulate.drill.faults import FAULTS, LANES
from worker.simulate.drill.places import in_ledger, letters, queued, spooled
from worker.simulate.drill.plan import plan
from worker.simulate.drill.stage import Stage, staged
from worker.simulate.drill.subscriber import Subscriber
from worker.simulate.tally import Letter

SUBSCRIBERS: Final = ("postcall", "crm")
LOOK_EVERY_S: Final = 0.5
GRACE_S: Final = 2.0
"""A little more than the sweep's own, as the drill sets it."""
SWEEPS_MAX: Final = 3
REPLAY_RATE: Final = "200"


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: so many calls ending within so many seconds, under these faults; and patience afterwards."""

    seed: int
    calls: int
    seconds: float
    faults: tuple[str, ...]
    patience_s: float
    tell: Callable[[str], None]
    keep: Path | None = None


async def run(drill: Drill) -> Account:
    """Run it, and add up. Raises what keeps it from being run at all; what is lost is in the account."""
    began = time.monotonic()
    async with staged(drill.tell, drill.keep) as stage:
        subscribers = [Subscriber(stage.node.url, name) for name in SUBSCRIBERS]
        reading = asyncio.gather(*(each.session.run() for each in subscribers))
        try:
            async with stage.simulator(seed=drill.seed, calls=drill.calls, seconds=drill.seconds):
                return await _Course(drill, stage, subscribers, began).run()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class _Course:
    """The course of one drill: the load under fire, the mend, the drain, the sweep, the account."""

    def __init__(self, drill: Drill, stage: Stage, subscribers: list[Subscriber], began: float) -> None:
        self._drill = drill
        self._stage = stage
        self._subscribers = subscribers
        self._began = began
        self._struck: list[Struck] = []
        self._letters: list[Letter] = []

    async def run(self) -> Account:
        """All of it, in order."""
        drill, stage = self._drill, self._stage
        drill.tell(f"{drill.calls} calls within {drill.seconds:g} s, seed {drill.seed} …")
        await self._under_fire()
        drill.tell("Mending, and draining …")
        await stage.mend()
        await stage.vapi.finish()
        replayed = await self._replay_unrouted()
        answered_for = accounts.accepted(self._calls)
        await self._until(lambda: self._is_drained(answered_for))
        lost = sorted(answered_for - self._found)
        drill.tell("Sweeping …")
        await asyncio.sleep(GRACE_S)
        swept = await self._sweep()
        expected = answered_for | accounts.findable(self._calls)
        await self._until(lambda: self._is_drained(expected, in_the_books=True))
        unaccounted = await self._sweep()
        return await self._account(expected, lost, replayed=replayed, swept=swept, unaccounted=unaccounted)

    @property
    def _calls(self) -> list[EndedCall]:
        return list(self._stage.vapi.account.calls.values())

    @property
    def _found(self) -> set[str]:
        """The calls that every subscriber has, or that lie in a place with a name."""
        reached = set.intersection(*(set(each.calls) for each in self._subscribers))
        return reached | {letter.call_id for letter in self._letters}

    @property
    def _unfinished(self) -> set[str]:
        """The calls of which Vapi has all, and a subscriber only a part."""
        findable = accounts.findable(self._calls)
        parts = (call_id for each in self._subscribers for call_id, seen in each.calls.items() if not seen.is_complete)
        return findable.intersection(parts)

    async def _under_fire(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as lanes:
            for lane in LANES:
                lanes.create_task(self._strike_in(lane, began), name=f"adversary: {lane}")

    async def _strike_in(self, lane: str, began: float) -> None:
        chosen = {name: FAULTS[name].lasts_s for name in self._drill.faults if FAULTS[name].lane == lane}
        for strike in plan(self._drill.seed, lane, chosen, self._drill.seconds):
            await asyncio.sleep(strike.after_s)
            at = time.monotonic()
            error = await _told(FAULTS[strike.fault].do(self._stage, strike.lasts_s))
            struck = Struck(strike.fault, round(at - began, 1), round(time.monotonic() - at, 1), error)
            self._struck.append(struck)
            self._drill.tell(f"{struck.at_s:6.1f} s  {strike.fault} for {struck.took_s} s {error}".rstrip())

    async def _replay_unrouted(self) -> int:
        """What lies in `calls.unrouted` an operator sends to where it was published; how many letters those were."""
        await self._until(self._is_unspooled)
        lying = [letter for letter in await letters(self._stage) if letter.queue == UNROUTED]
        if lying:
            await self._stage.command("dead", "replay", "--queue", UNROUTED, "--rate", REPLAY_RATE)
        return len(lying)

    async def _is_unspooled(self) -> bool:
        return not await spooled(self._stage)

    async def _is_drained(self, expected: set[str], *, in_the_books: bool = False) -> bool:
        self._letters = await letters(self._stage)
        if await spooled(self._stage) or not expected <= self._found or await queued(self._stage):
            return False
        return not in_the_books or (expected <= in_ledger(self._stage.ledger) and not self._unfinished)

    async def _until(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is so, for as long as the patience lasts; the account tells if it never was."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drill.patience_s):
                while not await _dared(is_so):  # noqa: ASYNC110  # the broker and the disk send us no event
                    await asyncio.sleep(LOOK_EVERY_S)

    async def _sweep(self) -> int:
        """Sweep until it could be done; how many calls it found unaccounted for, -1 if it never could."""
        for _ in range(SWEEPS_MAX):
            try:
                told = await self._stage.command("sweep", "--once")
            except (CalledProcessError, TimeoutError) as error:
                self._drill.tell(f"The sweep could not be done: {getattr(error, 'output', None) or error}")
                continue
            found = re.search(r'"unaccounted":(\d+)', told)
            return int(found[1]) if found else -1
        return -1

    async def _account(self, expected: set[str], lost: list[str], **counts: int) -> Account:
        calls, subscriber = self._calls, self._subscribers[0]
        return Account(
            seed=self._drill.seed,
            seconds=round(time.monotonic() - self._began, 1),
            struck=self._struck,
            ended=len(calls),
            never_sent=sum(call.faults.is_dropped for call in calls),
            unknowable=len(calls) - len(expected),
            accepted=len(accounts.accepted(calls)),
            refused=accounts.refused(calls),
            places=accounts.of_places(self._letters),
            spooled=await spooled(self._stage),
            lost=lost,
            missing=sorted(expected - self._found),
            not_in_ledger=sorted(expected - in_ledger(self._stage.ledger)),
            disguised=sorted(call_id for call_id, seen in subscriber.calls.items() if seen.is_disguised),
            invented=sorted(subscriber.calls.keys() - {call.outline.id for call in calls}),
            forged=accounts.forged(calls),
            unfinished=sorted(self._unfinished),
            **accounts.of_subscriber(subscriber),
            **counts,
        )


async def _told(blow: Awaitable[None]) -> str:
    """Let a blow fall; why it could not, or could not be undone, which the mend makes good."""
    try:
        await blow
    except Exception as error:  # noqa: BLE001  # the adversary goes on
        return f"({type(error).__name__}: {str(error)[:200]})"
    return ""


async def _dared(is_so: Callable[[], Awaitable[bool]]) -> bool:
    """Ask, though who is asked may not answer yet."""
    try:
        return await is_so()
    except (BrokerAway, aiohttp.ClientError, OSError):
        return False


def describe(account: Account) -> Mapping[str, object]:
    """The account as rows to be printed."""
    rows = msgspec.to_builtins(account)
    del rows["struck"]
    return {key.replace("_", " "): value for key, value in rows.items()}
