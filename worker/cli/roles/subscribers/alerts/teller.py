"""Tells what is due, tick by tick: by one process among several, to each target by itself, until it is told."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

from consumers.alerts.groups import State, What, due, told
from consumers.alerts.rounds import Key, Watch, matching_shown
from consumers.alerts.rules import Rule
from consumers.alerts.texts import Announcement, Example, announce
from consumers.alerts.windows import Hearing
from consumers.outcomes import DatabaseAway
from worker.cli.roles.subscribers.alerts.pauses import Pauses
from worker.clients.ledger.alert_book import AlertBook
from worker.clients.notify import SEND_S, NotTold
from worker.operate.telemetry import ALERT_MESSAGES, ALERTS, ALERTS_OPEN, logger

if TYPE_CHECKING:
    from worker.clients.ledger.alerts import Round

LOG: Final = ""
"""The target that is always there: the log."""
TICK_S: Final = 2.0
RELEASE_S: Final = 2.0

Due = tuple[Key, State, What]


class Tells(Protocol):
    """Sends messages to targets."""

    async def tell(self, label: str, announcement: Announcement) -> None:
        """Send one. Raises `NotTold`."""


class Teller:
    """One of several processes tells, by a lease on the database; the others take over once it runs out.

    A target that takes nothing is tried again with growing pauses, and no other waits for it. A crash between a message
    and the note of it repeats the message, and loses none.
    """

    def __init__(
        self,
        book: AlertBook,
        notifier: Tells,
        watch: Watch,
        *,
        is_caught_up: Callable[[], Awaitable[bool]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._notifier = notifier
        self._watch = watch
        self._is_caught_up = is_caught_up
        self._clock = clock
        self._holder = uuid4().hex
        self._rules = {rule.name: rule for rule in watch.alerts.in_force}
        self._is_ours = False
        self._is_silenced = False
        self._hearing = Hearing(None)
        self._unsaved: dict[Key, State] = {}
        self._pauses = Pauses()

    async def run(self) -> None:
        """Tell until cancelled."""
        try:
            while True:
                await self._try_to_tick()
                await asyncio.sleep(TICK_S)
        finally:
            with suppress(DatabaseAway, TimeoutError):
                async with asyncio.timeout(RELEASE_S):
                    await self._book.release(self._holder)

    async def _try_to_tick(self) -> None:
        """Tick; of a database that is away the log tells once."""
        try:
            await self.tick()
            self._is_silenced = False
        except DatabaseAway as error:
            if not self._is_silenced:
                logger().warning("alerts.silenced", detail=str(error))
            self._is_silenced = True

    async def tick(self) -> None:
        """Look once, and tell what is due. Raises `DatabaseAway`."""
        await self._save()
        self._hearing = await self._heard()
        found = await self._book.look(self._watch, self._holder, self._hearing, self._clock())
        self._is_ours = found is not None
        self._count_open(found.states if found else {})
        if found is not None:
            await self._tell_due(found)

    async def _heard(self) -> Hearing:
        if not self._is_ours or not await self._is_caught_up():
            return Hearing(None)
        now = self._clock()
        return Hearing(now if self._hearing.since is None else min(now, self._hearing.since))

    async def _tell_due(self, found: "Round") -> None:
        by_target: dict[str, list[Due]] = defaultdict(list)
        for key, state in found.states.items():
            if (what := due(state, self._watch.alerts, self._hearing, self._clock())) is not None:
                by_target[key[2]].append((key, state, what))
        telling = (self._tell_one(target, those, found.until) for target, those in by_target.items())
        # All to their end, whatever becomes of one: a message still on its way would be sent again by the next tick.
        if troubles := [said for said in await asyncio.gather(*telling, return_exceptions=True) if said is not None]:
            raise troubles[0]

    async def _tell_one(self, target: str, those: list[Due], until: float) -> None:
        """Tell one target, one message after the other, while it takes them and it is surely ours to tell."""
        if self._pauses.holds(target, self._clock()):
            return
        for key, state, what in sorted(those, key=lambda each: self._pauses.order(each[0])):
            if self._clock() + SEND_S > until:
                return
            try:
                await self._send(key, state, what)
            except NotTold as error:
                self._pauses.refused(key, self._clock())
                ALERT_MESSAGES.labels(target, "failed").inc()
                logger().warning("alert.untold", rule=key[0], account=key[1], target=target, detail=str(error))
                return
            self._pauses.taken(key)
            self._unsaved[key] = told(state, what, self._clock())
            await self._save()

    async def _send(self, key: Key, state: State, what: What) -> None:
        rule, account, target = self._rules[key[0]], key[1], key[2]
        examples = [] if what == "over" else await self._examples(rule, account, state)
        words = announce(what, rule, account, state, examples)
        if target == LOG:
            ALERTS.labels(rule.name, what).inc()
            calls = [example.call_id for example in examples]
            logger().warning(f"alert.{what}", rule=rule.name, account=account, title=words.title, calls=calls)
            return
        await self._notifier.tell(target, words)
        ALERT_MESSAGES.labels(target, "sent").inc()

    async def _examples(self, rule: Rule, account: str, state: State) -> list[Example]:
        matched, count = matching_shown(rule, state), self._watch.alerts.examples
        if matched is None or not count:
            return []
        since = self._clock() - rule.window_s if rule.window_s else state.since or 0.0
        return await self._book.examples(rule, account, matched=matched, since=since, count=count)

    async def _save(self) -> None:
        """Keep what was told: before anything else, for what is not kept is told again."""
        while self._unsaved:
            key, state = next(iter(self._unsaved.items()))
            await self._book.told(self._holder, key, state)
            self._unsaved.pop(key, None)

    def _count_open(self, states: Mapping[Key, State]) -> None:
        """Each rule's own number; 0 in the processes that do not tell, so that the sum is right."""
        raised = Counter(rule for (rule, _, target), state in states.items() if target == LOG and state.told_at)
        for rule in self._rules:
            ALERTS_OPEN.labels(rule).set(raised[rule])
