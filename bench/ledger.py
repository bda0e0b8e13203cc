"""Measure events written a second by one `aftercall consume ledger`, on SQLite and PostgreSQL: `-m bench.ledger`.

As shipped, with everything switched on; both databases wait for the disk at each commit.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import aio_pika

from bench.bodies import PLACE, call_of
from bench.rig import rss_mb, spent_s
from consumers.ended_reasons import outcome_of
from consumers.enriched import EnrichedCall, Provenance, Timeline, emission
from consumers.messages import Message
from consumers.timestamps import iso
from consumers.tolerant_json import parse
from tests.postgresql import PrivatePostgresql, prepare
from worker.broker.watch import depths, opened
from worker.clients.ledger.ledger import open_ledger
from worker.settings import load
from worker.simulate.processes import Role
from worker.simulate.rabbitmq import find_broker, free_ports

QUEUE: Final = "calls.ledger"
AT_ONCE: Final = 200


def events(count: int, size_bytes: int) -> Iterator[Message]:
    """As many enriched calls of about that size."""
    template, now = call_of(size_bytes).decode(), time.time()
    timeline = Timeline(iso(now - 9), iso(now - 8), iso(now), iso(now), 1)
    for number in range(count):
        call_id = f"{number:08}-0000-4000-8000-000000000000"
        enriched = EnrichedCall(
            account="default",
            call_id=call_id,
            version=1,
            complete=True,
            missing=(),
            outcome=outcome_of("customer-ended-call"),
            call=parse(template.replace(PLACE.decode(), call_id).encode()),
            provenance=Provenance("both", ["artifact.transcript"], []),
            timeline=timeline,
        )
        yield emission(enriched, source="webhook", emitted_at=now, trace={})


async def fill(amqp_url: str, messages: Iterator[Message]) -> None:
    """Publish events as the enricher does, many at a time."""
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("calls", ensure=False)
        while some := list(islice(messages, AT_ONCE)):
            await asyncio.gather(*(exchange.publish(_envelope(each), each.routing_key) for each in some))


def _envelope(message: Message) -> aio_pika.Message:
    return aio_pika.Message(
        message.body,
        headers=dict(message.headers),
        type=message.type,
        correlation_id=message.call_id,
        content_encoding=message.content_encoding,
        delivery_mode=2,
    )


async def worked_off(amqp_url: str, queue: str, role: Role) -> dict[str, float]:
    """Wait until nothing is left in a role's queue; how fast that went, and what it cost the role."""
    begun, spent, began = await backlog(amqp_url, queue), spent_s(role.pid), time.perf_counter()
    left = begun
    while left:
        await asyncio.sleep(0.1)
        left = await backlog(amqp_url, queue)
    return {
        "per_second": round(begun / (time.perf_counter() - began)),
        "cpu_ms_each": round((spent_s(role.pid) - spent) * 1000 / max(1, begun), 3),
        "rss_mb": round(rss_mb(role.pid)),
    }


async def backlog(amqp_url: str, queue: str) -> int:
    """How many messages are in a queue."""
    async with opened(amqp_url) as channel:
        return (await depths(channel, (queue,)))[queue]


async def measure(amqp_url: str, ledger_url: str, given: argparse.Namespace) -> None:
    """Let a ledger work off a backlog, and print how fast that went."""
    (probes,) = free_ports(1)
    environment = {
        "AFTERCALL_AMQP_URL": amqp_url,
        "AFTERCALL_LEDGER_URL": ledger_url,
        "AFTERCALL_ADMIN_PORT": str(probes),
        "AFTERCALL_PREFETCH": str(given.prefetch),
        "AFTERCALL_SUBSCRIBERS": "ledger",
    }
    with tempfile.TemporaryDirectory() as folder:
        async with _role(environment, Path(folder) / "topology.log", probes):
            pass  # the queue is there now
        await fill(amqp_url, events(given.events, given.size_bytes))
        async with _role(environment, Path(folder) / "ledger.log", probes) as role:
            figures = await worked_off(amqp_url, QUEUE, role)
    async with open_ledger(load(environment)) as ledger:
        written = sum((await ledger.counts()).values())
    print(f"{ledger_url.partition(':')[0]:<10} {figures}, {written} of {given.events} events are there", flush=True)


@asynccontextmanager
async def _role(environment: dict[str, str], log: Path, probes: int) -> AsyncIterator[Role]:
    async with Role("consume", "ledger", environment=environment, log=log) as role:
        await role.ready(f"http://127.0.0.1:{probes}/readyz")
        yield role


async def run(given: argparse.Namespace) -> None:
    """Measure both databases, each waiting for the disk as it would in an installation."""
    await prepare()
    async with PrivatePostgresql(is_durable=True) as server:
        for _ in range(given.repeats):
            with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder, server.database() as postgresql:
                for url in (f"sqlite:///{folder}/ledger.db", postgresql):
                    async with find_broker({}, tell=print) as broker:
                        await measure(broker.url, url, given)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--events", type=int, default=6000, help="(6000)")
    parser.add_argument("--size-bytes", type=int, default=20480, help="of an enriched call (20480)")
    parser.add_argument("--prefetch", type=int, default=32, help="deliveries in hand (32)")
    parser.add_argument("--repeats", type=int, default=2, help="(2)")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
