"""Looking on at the demo: what passes, what lies where, and how it adds up in the end."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import aiohttp
import orjson
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from consumers.messages import unpack
from worker.broker.deliver import read
from worker.broker.topology import Topology, topology_of
from worker.broker.watch import depths, watch
from worker.settings import Settings
from worker.simulate.demo.account import Account, Picture
from worker.simulate.demo.subscribers import Places, reached
from worker.simulate.tally import Letter, Tally, letter_of

CALLS: Final = 60
LIMIT_S: Final = 90.0
LOOK_EVERY_S: Final = 0.5
IN_HAND_S: Final = 10.0


class Demo:
    """A demo that runs: its parts' addresses, and what was seen so far."""

    def __init__(self, settings: Settings, channel: AbstractChannel, places: Places, *, broken: int) -> None:
        self.settings = settings
        self.places = places
        self.tally = Tally()
        self.looks_on = asyncio.Event()
        self._channel = channel
        self._topology: Topology = topology_of(settings)
        self._broken = broken
        self._began_at = time.time()

    async def look_on(self) -> None:
        """See each message that passes, until cancelled."""
        async for message in watch(self._channel, ("call.#",), begun=self.looks_on.set):
            key, call_id = message.routing_key or "", message.correlation_id or ""
            enriched = key.startswith(("call.enriched.", "call.amended."))
            is_complete = enriched and orjson.loads(unpack(read(message, "")))["complete"]
            self.tally.see(key, message.headers, call_id, is_complete=is_complete)

    async def picture(self) -> Picture:
        """How things stand now."""
        queues = tuple(queue.name for queue in self._topology.queues)
        return Picture(len(await self._ended()), self.tally, await depths(self._channel, queues))

    async def settled(self, show: Callable[[Picture], None]) -> None:
        """Wait until every call has ended and nothing waits any more, showing each look; or until the time is up."""
        async with asyncio.timeout(LIMIT_S):
            while not (picture := await self.picture()).is_settled(CALLS):
                show(picture)
                await asyncio.sleep(LOOK_EVERY_S)
        show(picture)

    async def account(self) -> Account:
        """Add it all up; what a subscriber still has in hand, which no queue shows, is given some time."""
        account = await self._added_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(IN_HAND_S):
                while not account.adds_up:
                    await asyncio.sleep(LOOK_EVERY_S)
                    account = await self._added_up()
        return account

    async def _added_up(self) -> Account:
        ended = await self._ended()
        letters = await self._letters()
        has = await reached(self.settings, self.places, set(self.tally.enriched), self._began_at)
        return Account(ended, self.tally, letters, has, self._broken)

    async def _ended(self) -> set[str]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.places.vapi}/_simulate/account") as answer:
            return {call["id"] for call in (await answer.json())["calls"]}

    async def _letters(self) -> list[Letter]:
        """The dead letters of this run, given back at once: others may look at them too."""
        found = []
        for queue in (name for name in (each.name for each in self._topology.queues) if name.endswith(".dead")):
            lying = await self._channel.get_queue(queue, ensure=False)
            taken = []
            while (letter := await lying.get(fail=False, no_ack=False)) is not None:
                taken.append(letter)
            for letter in taken:
                await letter.nack(requeue=True)
            found += [_letter(each, queue) for each in taken if _died_at(each) >= self._began_at - 1]
        return found


def _died_at(letter: AbstractIncomingMessage) -> float:
    return letter.timestamp.timestamp() if letter.timestamp else 0.0


def _letter(letter: AbstractIncomingMessage, queue: str) -> Letter:
    return letter_of(letter.headers, letter.correlation_id or "", queue.removesuffix(".dead"))
