"""What is going to happen to letters: found out before anything does."""

from collections.abc import Callable

import msgspec

from consumers.dead_letters import Letter
from consumers.replays import Destination, NoWayBack
from worker.broker.dead_letters import missing_for
from worker.cli.asking import says_yes
from worker.cli.dead.pages import dashed, letters, so_many
from worker.cli.dead.places import Place
from worker.cli.exit_codes import DONE, FOUND
from worker.cli.output import Format, print_rows, say


class Row(msgspec.Struct, frozen=True, order=True):
    """Letters that go the same way for the same reason: a line of a plan. `to` is None where they go nowhere."""

    queue: str
    reason: str
    to: Destination | None = None


class Plan(msgspec.Struct):
    """What is going to happen: how many letters of each kind, which ids were met, and what stands in the way."""

    counts: dict[Row, int] = {}
    ids: set[str] = set()
    obstacles: list[str] = []

    @property
    def total(self) -> int:
        """How many letters it is about."""
        return sum(self.counts.values())


async def plan(place: Place, choose: Callable[[Letter], Destination | None], limit: int | None) -> Plan:
    """Look at the letters, the first `limit` of those wanted, and find out what would become of each."""
    made = Plan()
    async with place.letters() as found:
        async for each in found:
            _plan_one(made, each.letter, choose)
            if made.total == limit:
                break
    for destination in sorted({row.to for row in made.counts if row.to is not None}):
        if missing := await missing_for(place.connection, place.topology, destination):
            made.obstacles.append(_gone(missing, destination))
    return made


def _plan_one(made: Plan, letter: Letter, choose: Callable[[Letter], Destination | None]) -> None:
    made.ids.add(letter.id)
    try:
        row = Row(letter.queue, letter.reason, choose(letter))
    except NoWayBack as error:
        if str(error) not in made.obstacles:
            made.obstacles.append(str(error))
        row = Row(letter.queue, letter.reason)
    made.counts[row] = made.counts.get(row, 0) + 1


def _gone(missing: str, destination: Destination) -> str:
    return (
        f"Nothing would take letters for {destination}: {missing} does not exist."
        " `aftercall topology apply` declares the queues of the settings; or name another queue with --to."
    )


def refusal(planned: Plan, place: Place, what: str) -> int | None:
    """The exit code if nothing shall be done, for a reason that is told; None to go on."""
    unknown = sorted(place.wanted.ids - planned.ids)
    if unknown:
        say(f"There is no such letter: {', '.join(unknown)}.")
    for obstacle in planned.obstacles:
        say(obstacle)
    if planned.obstacles:
        say("Nothing was moved.")
    elif not planned.total:
        say(f"There is no letter to {what}.")
    return FOUND if planned.obstacles or unknown else (None if planned.total else DONE)


def show_plan(planned: Plan, place: Place, output: Format) -> int:
    """What would be done, and how many letters of each kind; the exit code."""
    rows = [
        {"queue": row.queue, "reason": row.reason, "count": count, "to": None if row.to is None else str(row.to)}
        for row, count in sorted(planned.counts.items(), key=lambda item: (item[0].queue, item[0].reason))
    ]
    print_rows(rows if output == "json" else [dashed(row) for row in rows], output)
    for obstacle in planned.obstacles:
        say(obstacle)
    say(f"A dry run, nothing was done. {so_many(planned.total)}")
    return FOUND if planned.obstacles or place.wanted.ids - planned.ids else DONE


def is_sure(planned: Plan, *, has_ledger: bool) -> bool:
    """Ask at the terminal."""
    note = "The ledger keeps a note of each." if has_ledger else "No ledger keeps a note of them."
    return says_yes(f"Discard {letters(planned.total)} for good? {note}")
