"""Working through letters one at a time: paced, stoppable after the one in hand, and telling how it went."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection

from consumers.outcomes import TooLarge
from consumers.replays import NoWayBack, destination_of
from worker.broker.dead_letters import Desk, replay, told_as_away
from worker.broker.publisher import Publisher, PublishFailed
from worker.broker.walk import Found
from worker.broker.watch import BrokerAway
from worker.cli.dead.pages import letters
from worker.cli.dead.places import Place
from worker.cli.dead.plans import Plan
from worker.cli.exit_codes import DONE, FOUND, Unreachable
from worker.cli.output import Format, print_json, say
from worker.clients.rate import Rate
from worker.ingress.spool.writer import SpoolFailed
from worker.settings import Settings

PUBLISH_S: Final = 15.0
PROGRESS_S: Final = 0.2
INTERRUPTED: Final = 130
"""What shells show for a command that Ctrl-C ended."""
Deed = Callable[[Found], Awaitable[None]]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What to do to how many letters, at most how many a second, and the word for a letter to which it was done."""

    deed: Deed
    total: int
    rate: float
    done: str


class Tally(msgspec.Struct):
    """How it went: done, left where they lay with the cause of each, and whether it was stopped."""

    done: int = 0
    left: dict[str, int] = {}
    is_stopped: bool = False

    @property
    def seen(self) -> int:
        """How many letters were in hand."""
        return self.done + sum(self.left.values())


@asynccontextmanager
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """What acting on letters needs, on a connection of its own, since an alarm blocks those that publish."""
    publisher = Publisher(settings.amqp_url, name="dead", timeout_s=PUBLISH_S, is_patient=True, set_up=_nothing)
    session = asyncio.create_task(publisher.session.run(), name="publisher of letters")
    try:
        yield Desk(publisher.publish, settings.keeps_ledger)
    finally:
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


async def _nothing(_connection: AbstractConnection, _channel: AbstractChannel) -> None:
    """Nothing is verified: a publish to an exchange that is missing says so."""


def replaying(at: Desk, planned: Plan, to: str) -> Deed:
    """Replay a letter, if it goes where the plan found that something takes it."""
    allowed = {row.to for row in planned.counts}

    async def deed(found: Found) -> None:
        destination = destination_of(found.letter, to)
        if destination not in allowed:
            raise NoWayBack("it came after the look at what goes where: run the same command again")
        await replay(found, destination, at)

    return deed


async def work_through(place: Place, work: Work) -> Tally:
    """Do it to each wanted letter, one after the other; Ctrl-C and SIGTERM stop it after one.

    Raises `Unreachable` when the broker takes no more, saying how far it came.
    """
    tally, progress = Tally(), Progress(work)
    with _stopping() as stop:
        try:
            with told_as_away():
                await _each(place, work, tally, progress, stop)
        except (PublishFailed, BrokerAway, SpoolFailed) as error:
            progress.end()
            raise Unreachable(_broken_off(error, tally.done, work.done)) from error
    progress.end()
    tally.is_stopped = stop.is_set()
    return tally


async def _each(place: Place, work: Work, tally: Tally, progress: "Progress", stop: asyncio.Event) -> None:
    rate = Rate(work.rate, clock=time.monotonic, sleep=_interruptible(stop))
    async with place.letters() as found:
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


async def _one(found: Found, deed: Deed, tally: Tally) -> None:
    try:
        await deed(found)
    except (NoWayBack, TooLarge, TypeError, ValueError) as error:  # TypeError, ValueError: AMQP cannot carry it
        cause = str(error)
        tally.left[cause] = tally.left.get(cause, 0) + 1
    else:
        tally.done += 1


def _broken_off(error: Exception, count: int, done: str) -> str:
    return (
        f"The broker stopped it: {error}. {letters(count).capitalize()} {done}; the one in hand may be in both places,"
        " and the others lie where they lay. Run the same command again."
    )


@contextmanager
def _stopping() -> Iterator[asyncio.Event]:
    """Ctrl-C and SIGTERM as an event, so that the letter in hand is finished."""
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

    def __init__(self, work: Work) -> None:
        self._work = work
        self._began = time.monotonic()
        self._told_at = 0.0 if sys.stderr.isatty() else float("inf")

    def tell(self, count: int) -> None:
        """Show `count`, now and then."""
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_S:
            self._told_at = now
            left_s = (now - self._began) / max(count, 1) * (self._work.total - count)
            line = (
                f"{count:,} of {letters(self._work.total)} {self._work.done}, about {left_s:.0f} s left; Ctrl-C stops"
            )
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if 0 < self._told_at < float("inf"):
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def tell(tally: Tally, work: Work, output: Format) -> int:
    """Say how it went; the exit code."""
    if output == "json":
        print_json({work.done: tally.done, "left": tally.left})
    say(f"{letters(tally.done).capitalize()} {work.done}.")
    for cause, count in tally.left.items():
        say(f"{letters(count).capitalize()} left in place: {cause}")
    if tally.is_stopped:
        say("Stopped; the others lie where they lay.")
        return INTERRUPTED
    if (absent := work.total - tally.seen) > 0:
        say(f"{letters(absent).capitalize()} not there any more: another command has them in hand, or had.")
    return FOUND if tally.left else DONE
