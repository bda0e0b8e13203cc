"""`aftercall replay`: archived calls to one subscriber's queue again."""

import os
import re
import uuid
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Final

from cyclopts import Parameter, validators

from consumers.dead_letters import queue_named
from consumers.enriched import decode_call
from consumers.messages import ENRICH, REQUEUE
from consumers.postcall import CallRow, WantedCalls, body_of
from consumers.replays import Destination, note_of_call, replay_of_call
from worker.broker.dead_letters import Desk, missing_for
from worker.broker.reach import reached
from worker.broker.topology import topology_of
from worker.cli.arguments import Count, Flag
from worker.cli.asking import require_somebody_to_ask, says_yes
from worker.cli.broker import needing_broker
from worker.cli.calls.pages import calls
from worker.cli.calls.reading import reading
from worker.cli.calls.which import Which
from worker.cli.exit_codes import DONE, FOUND, WrongArguments
from worker.cli.output import Format, print_rows, say
from worker.cli.working import Deed, Telling, Work, desk, log_nothing, tell, work_through
from worker.clients.archive.archive import Archive
from worker.operate.telemetry import new_traceparent
from worker.settings import Settings, load

RATE: Final = 50.0
ASKED_ABOVE: Final = 100
"""So many calls at a time are sent without a question."""
RUN: Final = re.compile(r"[A-Za-z0-9-]{1,40}")
BODY_ALONE: Final = ("transcript", "summary", "structured_data", "structured_outputs")


@Parameter(name="*")
@dataclass(frozen=True)
class Chosen(Which):
    """Which calls, said deliberately."""

    all: Annotated[Flag, Parameter(help="all calls there are")] = False
    limit: Annotated[Count | None, Parameter(help="so many at most, the oldest first")] = None

    @property
    def is_said(self) -> bool:
        """Whether anything was said of which."""
        return replace(self, limit=None) != Chosen()


@Parameter(name="*")
@dataclass(frozen=True)
class How:
    """How they are sent."""

    rate: Annotated[float, Parameter(validator=validators.Number(gt=0), help="calls a second at most")] = RATE
    run: Annotated[str, Parameter(help="the id of a run to go on with; a new run has a new one")] = ""
    dry_run: Annotated[Flag, Parameter(help="only show how many would be sent")] = False
    yes: Annotated[Flag, Parameter(help="do not ask, however many there are")] = False


NONE_SAID: Final = Chosen()
AS_USUAL: Final = How()


async def replay(*, to: str, which: Chosen = NONE_SAID, how: How = AS_USUAL, output: Format = "text") -> int:
    """Send archived calls to one subscriber's queue again, the oldest first.

    Example: aftercall replay --to crm --since 2026-08-31T12:00:00Z --until 2026-08-31T15:00:00Z --dry-run

    Example: aftercall replay --to crm --call-id 01a058c7-4c94-7cd1-8155-66af75f0734c

    A replayed call is a new event, whose `ce-id` ends in `/replay/` and the run; the ledger keeps a note of each.
    Ctrl-C stops after the one in hand. A run that was stopped or broken off is gone on with by `--run` and its id: what
    arrived comes under the same `ce-id` and is dropped.

    Parameters
    ----------
    to
        The queue: `calls.crm`, or `crm`.

    """
    log_nothing()
    settings, queue, wanted = load(os.environ), queue_named(to), which.wanted()
    _require_choice(which, how.run)
    _require_subscriber(settings, queue)
    async with reading(settings) as archive:
        counts = await archive.counts(wanted)
        total = min(sum(counts.values()), which.limit or sum(counts.values()))
        if how.dry_run:
            return _show_plan(counts, queue, total, output)
        if (code := await _refusal(archive, wanted, queue, total, settings)) is not None:
            return code
        if total > ASKED_ABOVE and not how.yes and not _is_sure(total, queue):
            return FOUND
        run = how.run or uuid.uuid4().hex[:8]
        say(f"Run {run}: {calls(total)} to {queue}.")
        async with desk(settings, "replay") as at:
            deed = _sending(at, queue, run)
            work = Work(deed=deed, total=total, rate=how.rate, done="replayed", telling=_telling(run))
            tally = await work_through(aclosing(archive.calls(wanted, without=BODY_ALONE)), work)
    return tell(tally, work, output)


def _sending(at: Desk, queue: str, run: str) -> Deed:
    async def deed(row: CallRow) -> None:
        call, now = decode_call(body_of(row)), at.clock()
        await at.publish(replay_of_call(call, queue, run, now, {"traceparent": new_traceparent()}))
        if at.notes:
            await at.publish(note_of_call(call, queue, run, now))

    return deed


def _telling(run: str) -> Telling:
    return Telling(
        many=calls,
        broken_off=f"the one in hand may have arrived. Go on with the same command and --run {run}.",
        left="cannot be sent",
        stopped=f"Stopped. Go on with the same command and --run {run}.",
        absent="not in the archive any more.",
    )


def _show_plan(counts: Mapping[tuple[str, str], int], queue: str, total: int, output: Format) -> int:
    rows = [
        {"account": account, "result": result, "count": count, "to": queue}
        for (account, result), count in sorted(counts.items())
    ]
    print_rows(rows, output)
    say(f"A dry run, nothing was done. {calls(total).capitalize()} would be sent.")
    return DONE


async def _refusal(archive: Archive, wanted: WantedCalls, queue: str, total: int, settings: Settings) -> int | None:
    """The exit code if nothing shall be done, for a reason that is told; None to go on."""
    found = (
        {row.call_id async for row in archive.calls(wanted, without=("body", *BODY_ALONE))}
        if wanted.call_ids
        else set()
    )
    if unknown := sorted(set(wanted.call_ids) - found):
        say(f"Not in the archive, or not what the other options ask for: {', '.join(unknown)}. Nothing was sent.")
        return FOUND
    if not total:
        say("There is no call to replay.")
        return DONE
    with needing_broker():
        async with reached(settings.amqp_url) as connection:
            missing = await missing_for(connection, topology_of(settings), Destination(REQUEUE, queue))
    if missing:
        say(f"{missing} does not exist, so nothing was sent. `aftercall topology apply` declares it.")
    return FOUND if missing else None


def _is_sure(total: int, queue: str) -> bool:
    require_somebody_to_ask("how many calls would be sent")
    if says_yes(f"Send {calls(total)} to {queue} again?"):
        return True
    say("Nothing was sent.")
    return False


def _require_choice(which: Chosen, run: str) -> None:
    if not which.is_said:
        raise WrongArguments("say which calls to replay: --call-id, --since, --until, --result, … or --all")
    if run and not RUN.fullmatch(run):
        raise WrongArguments(f"--run {run}: the id that a run told, letters and digits")


def _require_subscriber(settings: Settings, queue: str) -> None:
    names = [
        each.name for each in topology_of(settings).queues if each.is_consumed and not each.name.startswith(ENRICH)
    ]
    if queue not in names:
        known = f"there are {', '.join(names)}, by the settings of this folder"
        raise WrongArguments(f"--to {queue}: no subscriber's queue; {known}")
