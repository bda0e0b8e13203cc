"""Measure calls archived a second by one `aftercall consume postcall`, on SQLite and PostgreSQL: `-m bench.archive`.

As shipped, with everything switched on; both databases wait for the disk at each commit. Beside them, for comparison,
what one enricher emits on the same machine (as `make bench` measures it), and what both do at once.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import aio_pika

from bench.ledger import backlog, fill, worked_off
from bench.rig import Rig, enriching
from bench.spool import messages_of
from consumers.ended_reasons import outcome_of
from consumers.enriched import EnrichedCall, Provenance, Timeline, emission
from consumers.messages import Message
from consumers.postcall import WantedCalls
from consumers.timestamps import iso
from consumers.tolerant_json import parse
from tests.postgresql import PrivatePostgresql, prepare
from worker.broker import declare
from worker.broker.topology import topology_of
from worker.clients.archive.archive import open_archive
from worker.settings import load
from worker.simulate.calls import make_call, to_json
from worker.simulate.processes import Role
from worker.simulate.rabbitmq import find_broker, free_ports

QUEUE: Final = "calls.postcall"
TEMPLATES: Final = 100
WORDS: Final = 20_000
"""What people say: so many words, the nth of them n times as seldom as the first (Zipf)."""


def events(count: int, size_bytes: int) -> Iterator[Message]:
    """As many answered calls of about that size, with transcripts of many words."""
    rng, now = random.Random(7), time.time()
    timeline = Timeline(iso(now - 9), iso(now - 8), iso(now), iso(now), 1)
    documents = list(_documents(rng, now, size_bytes))
    for number in range(count):
        call_id = f"{number:08}-0000-4000-8000-000000000000"
        yield emission(
            EnrichedCall(
                account="default",
                call_id=call_id,
                version=1,
                complete=True,
                missing=(),
                outcome=outcome_of("customer-ended-call"),
                call=documents[number % TEMPLATES] | {"id": call_id},
                provenance=Provenance("both", ["artifact.transcript"], []),
                timeline=timeline,
            ),
            source="webhook",
            emitted_at=now,
            trace={},
        )


def _documents(rng: random.Random, now: float, size_bytes: int) -> Iterator[dict[str, Any]]:
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(WORDS)]
    weights = list(accumulate(1 / (rank + 1) for rank in range(WORDS)))
    calls = (make_call(7, number, now, size_bytes * 3 // 2) for number in range(TEMPLATES * 9))
    answered = (call for call in calls if call.outline.ending.is_answered and not call.is_zero_data_retention)
    for call, _ in zip(answered, range(TEMPLATES), strict=False):
        document = parse(to_json(call.document))
        spoken = len(document["artifact"]["transcript"]) // 6
        document["artifact"]["transcript"] = " ".join(rng.choices(words, cum_weights=weights, k=spoken))
        yield document


def settings_of(amqp_url: str, archive_url: str, given: argparse.Namespace) -> dict[str, str]:
    """The environment of `consume postcall`."""
    (probes,) = free_ports(1)
    return {
        "AFTERCALL_AMQP_URL": amqp_url,
        "AFTERCALL_ARCHIVE_URL": archive_url,
        "AFTERCALL_ADMIN_PORT": str(probes),
        "AFTERCALL_PREFETCH": str(given.prefetch),
        "AFTERCALL_SUBSCRIBERS": "postcall",
    }


async def archiving(amqp_url: str, archive_url: str, given: argparse.Namespace, folder: Path) -> None:
    """Let an archive work off a backlog, and print how fast that went."""
    environment = settings_of(amqp_url, archive_url, given)
    await declared(environment)
    messages = list(events(given.calls, given.size_bytes))
    await fill(amqp_url, iter(messages))
    async with postcall(environment, folder / "postcall.log") as role:
        figures = await worked_off(amqp_url, QUEUE, role)
    async with open_archive(load(environment)) as archive:
        kept = sum((await archive.counts(WantedCalls())).values())
    size = sum(len(each.body) for each in messages) // len(messages)
    tell(archive_url, figures | {"kept": f"{kept} of {given.calls}", "bytes_each": size})


async def enriching_beside(amqp_url: str, archive_url: str, given: argparse.Namespace, folder: Path) -> None:
    """Let an enricher work, with an archive at the same time if there is one, and print how far that falls behind."""
    rig = Rig(amqp_url, folder, given)
    await declared(rig.environment)
    await fill(amqp_url, messages_of(given.size_bytes, given.calls))
    async with AsyncExitStack() as stack:
        if archive_url:
            environment = settings_of(amqp_url, archive_url, given)
            await stack.enter_async_context(postcall(environment, folder / "postcall.log"))
        enricher = await stack.enter_async_context(enriching(rig))
        figures = await worked_off(amqp_url, "calls.enrich.default", enricher)
        behind = {"archive_is_behind_by": await backlog(amqp_url, QUEUE)} if archive_url else {}
    tell(f"enricher beside {archive_url}" if archive_url else "enricher alone", figures | behind)


async def declared(environment: dict[str, str]) -> None:
    """Declare the queues of those settings."""
    async with await aio_pika.connect(environment["AFTERCALL_AMQP_URL"]) as connection:
        await declare.apply(connection, topology_of(load(environment)))


def tell(what: str, figures: dict[str, Any]) -> None:
    """Print one line."""
    print(f"{what.partition(':')[0]:<26} {figures}", flush=True)


@asynccontextmanager
async def postcall(environment: dict[str, str], log: Path) -> AsyncIterator[Role]:
    """The archive, ready."""
    async with Role("consume", "postcall", environment=environment, log=log) as role:
        await role.ready(f"http://127.0.0.1:{environment['AFTERCALL_ADMIN_PORT']}/readyz")
        yield role


async def run(given: argparse.Namespace) -> None:
    """Measure the enricher and both archives, each waiting for the disk as it would in an installation."""
    await prepare()
    async with PrivatePostgresql(is_durable=True) as server:
        for _ in range(given.repeats):
            with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as name, server.database() as postgresql:
                folder = Path(name)
                urls = (f"sqlite:///{folder}/archive.db", postgresql)
                runs = (*((archiving, url) for url in urls), *((enriching_beside, url) for url in ("", *urls)))
                for measure, url in runs:
                    async with find_broker({}, tell=print) as broker:
                        await measure(broker.url, url, given, folder)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.archive", description=__doc__)
    parser.add_argument("--calls", type=int, default=6000, help="(6000)")
    parser.add_argument("--size-bytes", type=int, default=30720, help="of an enriched call, about (30720)")
    parser.add_argument("--prefetch", type=int, default=32, help="deliveries in hand (32)")
    parser.add_argument("--latency-s", type=float, default=0, help="of the API (0)")
    parser.add_argument("--repeats", type=int, default=2, help="(2)")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
