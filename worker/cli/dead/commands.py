"""The commands of `aftercall dead`."""

import os
import sys
from functools import partial
from typing import Annotated, Final

from cyclopts import App, Parameter, validators

from consumers.dead_letters import Groups, Wanted, queue_named
from consumers.replays import destination_of
from worker.broker.dead_letters import discard as discard_one
from worker.broker.topology import topology_of
from worker.broker.walk import Found
from worker.cli.arguments import Count, Flag
from worker.cli.asking import require_somebody_to_ask
from worker.cli.dead.pages import Lines, body_of, dashed, document, json_line, page, so_many
from worker.cli.dead.places import opened
from worker.cli.dead.plans import is_sure, plan, refusal, show_plan
from worker.cli.dead.which import Chosen, Which
from worker.cli.dead.working import Work, desk, replaying, work_through
from worker.cli.exit_codes import DONE, FOUND, WrongArguments
from worker.cli.output import Format, json_end, print_json, print_rows, say
from worker.cli.working import log_nothing, tell
from worker.settings import Settings, load

RATE: Final = 50.0
FASTEST: Final = 10_000.0
ANY: Final = Which()
NONE_SAID: Final = Chosen()

app = App(
    name="dead",
    help="""Look at dead letters, grouped by cause; replay or discard them.

Example: aftercall dead replay --queue crm --reason rejected --dry-run
""",
)


@app.command
async def groups(*, which: Which = ANY, output: Format = "text") -> int:
    """Count dead letters by queue, reason and error: what is wrong, how often, since when, and an example of each.

    Example: aftercall dead groups --since 24h
    """
    counted = Groups()
    async with opened(load(os.environ), which.wanted()) as place, place.letters() as found:
        async for each in found:
            counted.add(each.letter)
    made = counted.sorted()
    rows = [group.row() for group in made]
    with_error = [dashed(group.row() | {"error": group.error}) for group in made]
    print_rows(rows if output == "json" else with_error, output)
    if output == "text":
        say(so_many(sum(group.count for group in made)))
    return DONE


@app.command(name="list")
async def list_(*, which: Which = ANY, limit: Count | None = None, output: Format = "text") -> int:
    """List dead letters, the oldest of each queue first.

    Example: aftercall dead list --queue crm --reason rejected --output json

    Parameters
    ----------
    limit
        So many at most.

    """
    count = 0
    async with opened(load(os.environ), which.wanted()) as place, place.letters() as found:
        line = json_line if output == "json" else Lines([source.name for source in place.sources]).line
        async for each in found:
            sys.stdout.write(line(each.letter, count))
            count += 1
            if count == limit:
                break
    if output == "json":
        sys.stdout.write(json_end(count))
    else:
        say(so_many(count))
    return DONE


@app.command
async def show(id_: Annotated[str, Parameter(name="ID")], /, *, raw: Flag = False, output: Format = "text") -> int:
    """Show one dead letter: its story, its headers and its body.

    Example: aftercall dead show 3f2a9c0d41be

    Example: aftercall dead show 3f2a9c0d41be --raw | jq .message.endedReason

    Parameters
    ----------
    raw
        Write the body's bytes alone to standard output, unzipped.

    """
    found = await _found(id_)
    if found is None:
        say(f"There is no dead letter {id_}: `aftercall dead list` shows those there are.")
        return FOUND
    if raw:
        sys.stdout.buffer.write(body_of(found))
    elif output == "json":
        print_json(document(found))
    else:
        sys.stdout.write(page(found))
    return DONE


@app.command
async def replay(
    *,
    which: Chosen = NONE_SAID,
    to: str = "",
    rate: Annotated[float, Parameter(validator=validators.Number(gt=0))] = RATE,
    dry_run: Flag = False,
    output: Format = "text",
) -> int:
    """Send dead letters back to the queue they failed in; from calls.unrouted, to where they were published.

    Example: aftercall dead replay --queue crm --reason rejected --dry-run

    Example: aftercall dead replay --id 3f2a9c0d41be --to calls.enrich.default

    A letter leaves the dead letters when the broker has confirmed its copy: a crash may leave the one in hand in both
    places, under one `ce-id`, and loses none. Ctrl-C stops after the one in hand. Its history stays in its headers.

    Parameters
    ----------
    to
        Another queue to send them to.
    rate
        Letters a second at most.
    dry_run
        Only show what would go where.

    """
    log_nothing()
    settings, target, wanted = load(os.environ), queue_named(to) if to else "", which.wanted()
    _require_choice(which, "replay")
    _require_target(settings, target)
    async with opened(settings, wanted) as place:
        planned = await plan(place, partial(destination_of, to=target), which.limit)
        if dry_run:
            return show_plan(planned, place, output)
        if (code := refusal(planned, place, "replay")) is not None:
            return code
        async with desk(settings) as at:
            work = Work(deed=replaying(at, planned, target), total=planned.total, rate=rate, done="replayed")
            tally = await work_through(place, work)
    return tell(tally, work, output)


@app.command
async def discard(
    *, which: Chosen = NONE_SAID, yes: Flag = False, dry_run: Flag = False, output: Format = "text"
) -> int:
    """Delete dead letters for good, each with a note in the ledger. Asks first.

    Example: aftercall dead discard --queue webhook --reason undecodable --older-than 7d

    Parameters
    ----------
    yes
        Do not ask; needed without a terminal.
    dry_run
        Only show what would be discarded.

    """
    log_nothing()
    settings, wanted, is_asking = load(os.environ), which.wanted(), not (yes or dry_run)
    _require_choice(which, "discard")
    if is_asking:
        require_somebody_to_ask("what would be discarded")
    async with opened(settings, wanted) as place:
        planned = await plan(place, lambda _letter: None, which.limit)
        if dry_run:
            return show_plan(planned, place, output)
        if (code := refusal(planned, place, "discard")) is not None:
            return code
    if is_asking and not is_sure(planned, has_ledger=settings.keeps_ledger):
        say("Nothing was discarded.")
        return FOUND
    async with opened(settings, wanted) as place, desk(settings) as at:
        work = Work(deed=partial(discard_one, desk=at), total=planned.total, rate=FASTEST, done="discarded")
        tally = await work_through(place, work)
    return tell(tally, work, output)


async def _found(id_: str) -> Found | None:
    async with opened(load(os.environ), Wanted(ids=frozenset((id_,)))) as place, place.letters() as found:
        async for each in found:
            return each
    return None


def _require_choice(which: Chosen, what: str) -> None:
    if not which.is_said:
        options = "--queue, --reason, --account, --call-id, --id, --older-than, --since or --all"
        raise WrongArguments(f"say which letters to {what}: {options}")


def _require_target(settings: Settings, target: str) -> None:
    queues = [queue.name for queue in topology_of(settings).queues if queue.is_consumed]
    if target and target not in queues:
        raise WrongArguments(f"--to {target}: no such queue; there are {', '.join(queues)}")
