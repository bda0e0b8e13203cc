"""Working through letters: each taken from where it lies once it was replayed or discarded."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from consumers.replays import NoWayBack, destination_of
from worker.broker.dead_letters import Desk, replay
from worker.broker.walk import Found
from worker.cli import working
from worker.cli.dead.pages import letters
from worker.cli.dead.places import Place
from worker.cli.dead.plans import Plan
from worker.cli.working import Tally, Telling
from worker.settings import Settings

Deed = Callable[[Found], Awaitable[None]]
LETTERS: Final = Telling(
    many=letters,
    broken_off="the one in hand may be in both places, and the others lie where they lay. Run the same command again.",
    left="left in place",
    stopped="Stopped; the others lie where they lay.",
    absent="not there any more: another command has them in hand, or had.",
)


class Work(working.Work, frozen=True, kw_only=True):
    """What to do to how many letters, at most how many a second, and the word for a letter to which it was done."""

    telling: Telling = LETTERS


def desk(settings: Settings) -> AbstractAsyncContextManager[Desk]:
    """What acting on letters needs."""
    return working.desk(settings, "dead")


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
    """Do it to each wanted letter, one after the other; Ctrl-C and SIGTERM stop it after one. Raises `Unreachable`."""
    return await working.work_through(place.letters(), work)
