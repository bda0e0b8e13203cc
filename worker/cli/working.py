"""Working through things one at a time: paced, stoppable after the one in hand, and telling how it went."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import msgspec
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection

from consumers.outcomes import DatabaseAway, TooLarge
from consumers.replays import NoWayBack
from worker.broker.dead_letters import Desk
from worker.broker.publisher import Publisher, PublishFailed
from worker.broker.reach import BrokerAway, told_as_away
from worker.cli.exit_codes import DONE, FOUND, Unreachable
from worker.cli.output import Format, print_json, say
from worker.clients.rate import Rate
from worker.ingress.spool.writer import SpoolFailed
from worker.operate import tracing
from worker.settings import Settings

PUBLISH_S: Final = 15.0
PROGRESS_S: Final = 0.2
INTERRUPTED: Final = 130
"""What shells show for a command that Ctrl-C ended."""
Things = AbstractAsyncContextManager[AsyncIterator[Any]]
Deed = Callable[[Any], Awaitable[None]]


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """How to speak of what is worked through: how many they are, and what became of those to which it was not done."""

    many: Callable[[int], str]
    broken_off: str
    left: str
    stopped: str
    absent: str


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What to do to how many things, at most how many a second, and the word for one to which it was done."""

    deed: Deed
    total: int
    rate: float
    done: str
    telling: Telling


class Tally(msgspec.Struct):
    """How it went: done, left as they were with the cause of each, and whether it was stopped."""

    done: int = 0
    left: dict[str, int] = {}
    is_stopped: bool = False

    @property
    def seen(self) -> int:
        """How many were in hand."""
        return self.done + sum(self.left.values())


def log_nothing() -> None:
    """Sessions log what happens to them; here it is told in the command's own words."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))


@asynccontextmanager
async def desk(settings: Settings, name: str) -> AsyncIterator[Desk]:
    """What publishing needs, on a connection of its own, since an alarm blocks those that publish."""
    tracing.start_tracing(f"aftercall-{name}")
    publisher = Publisher(settings.amqp_url, name=name, timeout_s=PUBLISH_S, is_patient=True, set_up=_nothing)
    session = asyncio.create_task(publisher.session.run(), name=f"publisher of {name}")
    try:
        with tracing.span(name):
            yield Desk(tracing.publishing(publisher.publish, apart=True), settings.keeps_ledger)
    finally:
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)
        await tracing.stop_tracing()


async def _nothing(_connection: AbstractConnection, _channel: AbstractChannel) -> None:
    """Nothing is verified: a publish to an exchange that is missing says so."""


async def work_through(things: Things, work: Work) -> Tally:
    """Do it to each thing, one after the other; Ctrl-C and SIGTERM stop it after one.

    Raises `Unreachable` when the broker takes no more, or the things come no more, saying how far it came.
    """
    tally, progress = Tally(), Progress(work.total, work.telling.many, work.done)
    with _stopping() as stop:
        try:
            with told_as_away():
                await _each(things, work, tally, progress, stop)
        except (PublishFailed, BrokerAway, SpoolFailed, DatabaseAway) as error:
            progress.end()
            raise Unreachable(_broken_off(error, tally.done, work)) from error
    progress.end()
    tally.is_stopped = stop.is_set()
    return tally


async def _each(things: Things, work: Work, tally: Tally, progress: "Progress", stop: asyncio.Event) -> None:
    rate = Rate(work.rate, clock=time.monotonic, sleep=_interruptible(stop))
    async with things as found:
        async for each in found:
            await rate.turn(float("inf"))
            if stop.is_set():
                break
            await _one(each, work.deed, tally)
            progress.tell(tally.done)
            if tally.seen == work.total:
                break


def _interruptible(stop: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)

    return sleep


async def _one(thing: Any, deed: Deed, tally: Tally) -> None:
    try:
        await deed(thing)
    except (NoWayBack, TooLarge, TypeError, ValueError) as error:  # TypeError, ValueError: AMQP cannot carry it
        cause = str(error)
        tally.left[cause] = tally.left.get(cause, 0) + 1
    else:
        tally.done += 1


def _broken_off(error: Exception, count: int, work: Work) -> str:
    who = "The database" if isinstance(error, DatabaseAway) else "The broker"
    told = f"{work.telling.many(count).capitalize()} {work.done}; {work.telling.broken_off}"
    return f"{who} stopped it: {error}. {told}"


@contextmanager
def _stopping() -> Iterator[asyncio.Event]:
    """Ctrl-C and SIGTERM as an event, so that what is in hand is finished."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class Progress:
    """How far it is, in one line of the terminal that is written again and again; silent without a terminal."""

    def __init__(self, total: int, many: Callable[[int], str], done: str) -> None:
        self._total = total
        self._told = f"{many(total)} {done}"
        self._began = time.monotonic()
        self._told_at = 0.0 if sys.stderr.isatty() else float("inf")

    def tell(self, count: int) -> None:
        """Show `count`, now and then."""
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_S:
            self._told_at = now
            left_s = (now - self._began) / max(count, 1) * max(0, self._total - count)
            sys.stderr.write(f"\r{count:,} of {self._told}, about {left_s:.0f} s left; Ctrl-C stops\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if 0 < self._told_at < float("inf"):
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def tell(tally: Tally, work: Work, output: Format) -> int:
    """Say how it went; the exit code."""
    many, telling = work.telling.many, work.telling
    if output == "json":
        print_json({work.done: tally.done, "left": tally.left})
    say(f"{many(tally.done).capitalize()} {work.done}.")
    for cause, count in tally.left.items():
        say(f"{many(count).capitalize()} {telling.left}: {cause}")
    if tally.is_stopped:
        say(telling.stopped)
        return INTERRUPTED
    if (absent := work.total - tally.seen) > 0:
        say(f"{many(absent).capitalize()} {telling.absent}")
    return FOUND if tally.left else DONE
