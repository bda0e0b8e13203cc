"""A broker with dead letters, and what commands do to them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from consumers.dead_letters import Letter, Wanted
from consumers.replays import destination_of
from consumers.settling import story_of
from tests.processes import AFTERCALL, RunningProcess, eventually
from worker.broker import declare
from worker.broker.topology import topology_of
from worker.broker.walk import depth_of
from worker.cli.dead.places import Place, opened
from worker.cli.dead.plans import Plan, plan
from worker.cli.dead.working import Tally, Work, desk, replaying, work_through
from worker.settings import Settings, load

QUEUE = "calls.crm"
DEAD = f"{QUEUE}.dead"
DIED_AT = 1_790_000_000.0
FAST = 5000.0


def settings_of(url: str, **keys: str) -> Settings:
    return load(
        {f"AFTERCALL_{key}": value for key, value in ({"AMQP_URL": url, "SUBSCRIBERS": "ledger,crm"} | keys).items()}
    )


class Broker:
    """A broker with the topology of `settings`, and plain AMQP to prepare and to look at it."""

    def __init__(self, connection: AbstractConnection, settings: Settings, folder: Path) -> None:
        self.connection = connection
        self.settings = settings
        self.folder = folder

    async def put(self, exchange: str, key: str, *messages: aio_pika.Message) -> None:
        async with self.connection.channel() as channel:
            to = await channel.get_exchange(exchange, ensure=False)
            for begin in range(0, len(messages), 500):
                await asyncio.gather(*(to.publish(message, key) for message in messages[begin : begin + 500]))

    async def put_dead(self, count: int, queue: str = QUEUE, **changes: Any) -> None:
        await self.put("calls.dead", queue, *(letter(number, queue, **changes) for number in range(count)))

    async def depth(self, queue: str) -> int:
        depth = await depth_of(self.connection, queue)
        assert depth is not None
        return depth

    async def take(self, queue: str) -> list[AbstractIncomingMessage]:
        """Everything that lies ready in a queue, in its order, taken out."""
        taken: list[AbstractIncomingMessage] = []
        async with self.connection.channel() as channel:
            waiting = await channel.get_queue(queue, ensure=False)
            while message := await waiting.get(fail=False, no_ack=True):
                taken.append(message)
        return taken

    async def numbers(self, queue: str) -> list[int]:
        return [int(message.body) for message in await self.take(queue)]

    async def notes(self) -> list[tuple[str, str]]:
        """What the ledger was told, and of which call."""
        noted = await self.take("calls.ledger")
        return [(str(message.routing_key).rpartition(".")[2], str(message.correlation_id)) for message in noted]

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """The command with its exit code, standard output and standard error."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
        ours = {"AFTERCALL_AMQP_URL": self.settings.amqp_url.reveal(), "AFTERCALL_SUBSCRIBERS": "ledger,crm"}
        process = await asyncio.create_subprocess_exec(
            *(AFTERCALL, "dead", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=inherited | ours | environment,
            cwd=self.folder,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


def letter(number: int, queue: str = QUEUE, **changes: Any) -> aio_pika.Message:
    """A dead letter with a number for a body, of the call `call-<number>`."""
    story = story_of(queue, changes.pop("reason", "rejected"), f"no {number}", "Reject", DIED_AT + number)
    ours = {"x-aftercall-account": "default", "x-aftercall-attempt": 3, "ce-id": f"default/call-{number}/ended"}
    given: dict[str, Any] = {
        "body": b"%d" % number,
        "headers": ours | story | changes.pop("headers", {}),
        "message_id": f"m-{number}",
        "correlation_id": f"call-{number}",
        "type": "call.enriched",
    }
    return aio_pika.Message(**given | changes)


@asynccontextmanager
async def broker_at(url: str, folder: Path, **keys: str) -> AsyncIterator[Broker]:
    settings = settings_of(url, SPOOL_DIR=str(folder / "spool"), **keys)
    async with await aio_pika.connect(url) as connection:
        await declare.apply(connection, topology_of(settings))
        yield Broker(connection, settings, folder)


async def look(place: Place) -> list[Letter]:
    async with place.letters() as found:
        return [each.letter async for each in found]


async def letters(settings: Settings, wanted: Wanted | None = None) -> list[Letter]:
    async with opened(settings, wanted or Wanted()) as place:
        return await look(place)


async def planned_for(place: Place, to: str = "", limit: int | None = None) -> Plan:
    return await plan(place, partial(destination_of, to=to), limit)


async def replay_all(
    settings: Settings, wanted: Wanted | None = None, *, to: str = "", limit: int | None = None
) -> Tally:
    async with opened(settings, wanted or Wanted()) as place, desk(settings) as at:
        made = await planned_for(place, to, limit)
        assert not made.obstacles
        return await work_through(
            place, Work(deed=replaying(at, made, to), total=made.total, rate=FAST, done="replayed")
        )


async def has(broker: Broker, queue: str, count: int) -> bool:
    return await broker.depth(queue) == count


async def replaying_process(broker: Broker, start: Callable[..., RunningProcess], count: int) -> RunningProcess:
    """A real process in the middle of replaying `count` letters."""
    await broker.put_dead(count)
    environment = {"AFTERCALL_AMQP_URL": broker.settings.amqp_url.reveal(), "AFTERCALL_SUBSCRIBERS": "ledger,crm"}
    process = start(AFTERCALL, "dead", "replay", "--all", "--rate", "400", environment=environment)
    await eventually(lambda: is_at_least(broker, QUEUE, 40))
    return process


async def is_at_least(broker: Broker, queue: str, count: int) -> bool:
    return await broker.depth(queue) >= count


async def sum_is(broker: Broker, count: int) -> bool:
    return await broker.depth(QUEUE) + await broker.depth(DEAD) >= count
