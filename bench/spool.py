"""Measure the spool, `python -m bench.spool`: what it keeps a second beside what the disk can do, and how it drains."""

import argparse
import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvloop
from aio_pika.abc import AbstractChannel, AbstractConnection

from bench.bodies import PLACE, report_of
from consumers.messages import Message
from consumers.notifications import write_notification
from worker.broker import declare
from worker.broker.publisher import Publisher
from worker.broker.topology import topology_of
from worker.ingress.spool.drain import Drain
from worker.ingress.spool.keeper import Gate
from worker.ingress.spool.writer import Spool
from worker.settings import load
from worker.simulate.rabbitmq import find_broker


def fsyncs_per_second(folder: Path, size_bytes: int, seconds: float = 1.0) -> int:
    """How often the disk appends that much and says that it is safe."""
    body, count = os.urandom(size_bytes), 0
    descriptor = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY)
    end_at = time.perf_counter() + seconds
    while time.perf_counter() < end_at:
        os.write(descriptor, body)
        os.fdatasync(descriptor)
        count += 1
    os.close(descriptor)
    (folder / "fsync").unlink()
    return round(count / seconds)


def messages_of(size_bytes: int, count: int) -> Iterator[Message]:
    """As many notifications as the endpoint makes them."""
    before, after = report_of(size_bytes).split(PLACE)
    for _ in range(count):
        call_id = str(uuid.uuid4())
        yield write_notification(
            (before + call_id.encode() + after, None),
            account="default",
            call_id=call_id,
            source="webhook",
            received_at=time.time(),
            traceparent=f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-00",
        )


async def keep_all(spool: Spool, messages: list[Message], at_a_time: int) -> tuple[float, list[float]]:
    """Keep them, so many at a time; the seconds of all, and of each."""
    took: list[float] = []
    left = iter(messages)

    async def keep_on() -> None:
        for message in left:
            began = time.perf_counter()
            await spool.keep(message)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(keep_on() for _ in range(at_a_time)))
    return time.perf_counter() - began, sorted(took)


async def drain_all(spool: Spool, publish: Callable[[Message], Awaitable[None]], gate: Gate) -> float:
    """Drain it; the seconds it took."""

    async def at_once() -> None:
        pass

    drain = Drain(spool, publish, gate, at_once)
    began = time.perf_counter()
    while spool.totals.waiting:
        await drain.step()
    return time.perf_counter() - began


async def measure(given: argparse.Namespace, folder: Path) -> None:
    """Keep, drain into nothing, keep again, drain into a broker."""
    rate = fsyncs_per_second(folder, given.size_bytes)
    print(f"the disk: {rate} appends of {given.size_bytes} bytes with fsync a second")
    spool = Spool(folder / "spool", 2**40)
    await spool.open()
    for at_a_time in (1, given.connections):
        messages = list(messages_of(given.size_bytes, given.count if at_a_time > 1 else given.count // 5))
        seconds, took = await keep_all(spool, messages, at_a_time)
        p50, p99 = took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000
        rate = round(len(messages) / seconds)
        print(f"kept: {rate} a second, {at_a_time} at a time; p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    count = spool.totals.waiting
    seconds = await drain_all(spool, _nowhere, Gate(lambda: True))
    print(f"drained, without a broker: {round(count / seconds)} a second")
    if given.broker:
        await keep_all(spool, messages, given.connections)
        await measure_with_broker(spool)
    await spool.close()
    await measure_opening(folder / "spool", given)


async def _nowhere(_message: Message) -> None:
    pass


async def measure_with_broker(spool: Spool) -> None:
    """Drain into quorum queues, confirmed."""
    async with find_broker({}, tell=print) as broker:
        settings = load({"AFTERCALL_AMQP_URL": broker.url, "AFTERCALL_SUBSCRIBERS": "postcall"})

        async def set_up(connection: AbstractConnection, _channel: AbstractChannel) -> None:
            await declare.apply(connection, topology_of(settings))

        publisher = Publisher(settings.amqp_url, name="bench", timeout_s=10, is_patient=True, set_up=set_up)
        session = asyncio.create_task(publisher.session.run())
        await publisher.session.ready.wait()
        count = spool.totals.waiting
        seconds = await drain_all(spool, publisher.publish, Gate(lambda: True))
        print(f"drained, to the broker: {round(count / seconds)} a second")
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


async def measure_opening(folder: Path, given: argparse.Namespace) -> None:
    """How long the start takes with a backlog to check."""
    spool = Spool(folder, 2**40)
    await spool.open()
    await keep_all(spool, list(messages_of(given.size_bytes, given.count)), given.connections)
    await spool.close()
    began = time.perf_counter()
    spool = Spool(folder, 2**40)
    await spool.open()
    seconds, totals = time.perf_counter() - began, spool.totals
    await spool.close()
    print(f"opened: {totals.waiting} records of {totals.size / 1e6:.0f} MB checked in {seconds:.2f} s")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.spool", description=__doc__)
    parser.add_argument("--size-bytes", type=int, default=20480, help="of a webhook (20480)")
    parser.add_argument("--count", type=int, default=20000, help="of webhooks (20000)")
    parser.add_argument("--connections", type=int, default=64, help="that post at a time (64)")
    parser.add_argument("--folder", default=None, help="on the disk to be measured (the temporary folder)")
    parser.add_argument("--no-broker", dest="broker", action="store_false", help="do not drain to a broker")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-", dir=given.folder) as folder:
        uvloop.run(measure(given, Path(folder)))


if __name__ == "__main__":
    main()
