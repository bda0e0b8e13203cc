"""Measure what a scrape costs, `python -m bench.scrape`: time and bytes of the `/metrics` of an enricher."""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import aio_pika
import aiohttp
import msgspec

from bench.ledger import fill
from bench.rig import Rig, enriching, spent_s
from bench.spool import messages_of
from consumers.messages import OURS, Message
from worker.broker import declare
from worker.broker.topology import enrich_queue, topology_of
from worker.broker.watch import depths, opened
from worker.settings import load
from worker.simulate.rabbitmq import find_broker

SCRAPES = 200


def of_account(message: Message, account: str) -> Message:
    """The same notification, another account's."""
    headers = {**message.headers, f"{OURS}account": account, "ce-source": f"/accounts/{account}"}
    return msgspec.structs.replace(message, routing_key=f"call.ended.{account}", headers=headers)


def shared_out(messages: Iterator[Message], accounts: list[str]) -> Iterator[Message]:
    """Messages, to each account in turn."""
    return (of_account(each, accounts[number % len(accounts)]) for number, each in enumerate(messages))


async def worked_off(amqp_url: str, queues: tuple[str, ...]) -> None:
    """Wait until nothing lies in the queues."""
    async with opened(amqp_url) as channel:
        while any((await depths(channel, queues)).values()):  # noqa: ASYNC110  # the broker tells nobody
            await asyncio.sleep(0.5)


async def measure(rig: Rig) -> None:
    """Let an enricher settle that many deliveries, then scrape it."""
    settings, given = load(rig.environment), rig.given
    accounts = [account.name for account in settings.accounts]
    async with await aio_pika.connect(rig.amqp_url) as connection:
        await declare.apply(connection, topology_of(settings))
    await fill(rig.amqp_url, shared_out(messages_of(given.size_bytes, given.deliveries), accounts))
    async with enriching(rig) as role, aiohttp.ClientSession() as http:
        await worked_off(rig.amqp_url, tuple(map(enrich_queue, accounts)))
        url, took, spent = f"http://127.0.0.1:{rig.probes}/metrics", [], spent_s(role.pid)
        for _ in range(SCRAPES):
            began = time.perf_counter()
            async with http.get(url) as answer:
                body = await answer.text()
            took.append(time.perf_counter() - began)
        cpu_ms = (spent_s(role.pid) - spent) * 1000 / SCRAPES
        figures = {
            "series": sum(not line.startswith("#") for line in body.splitlines()),
            "bytes": len(body),
            "gzipped": int(answer.headers["Content-Length"]),
            "p50_ms": round(median(took) * 1000, 1),
            "cpu_ms": round(cpu_ms, 1),
        }
    print(f"{len(accounts)} accounts, {given.deliveries} deliveries: {figures}")


async def run(given: argparse.Namespace) -> None:
    """Measure on a broker of our own."""
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder:
        async with find_broker({}, tell=print) as broker:
            rig = Rig(broker.url, Path(folder), given)
            for number in range(1, given.accounts):
                for key in ("VAPI_API_KEY", "WEBHOOK_SECRETS"):
                    rig.environment[f"AFTERCALL_ACCOUNTS__CLIENT_{number}__{key}"] = "bench"
            await measure(rig)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.scrape", description=__doc__)
    parser.add_argument("--accounts", type=int, default=10, help="(10)")
    parser.add_argument("--deliveries", type=int, default=10_000, help="before it is scraped (10000)")
    parser.add_argument("--size-bytes", type=int, default=20480, help="of a report and of a call (20480)")
    parser.add_argument("--latency-s", type=float, default=0, help="of the API (0)")
    parser.add_argument("--prefetch", type=int, default=64, help="deliveries in hand (64)")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
