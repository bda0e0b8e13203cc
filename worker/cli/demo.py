"""`aftercall demo`: watch calls travel through everything, on this machine alone."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.cli.arguments import Flag
from worker.cli.exit_codes import FOUND, Unreachable
from worker.settings import Settings
from worker.simulate.demo.account import Account, Picture
from worker.simulate.demo.installation import ENVIRONMENT, running
from worker.simulate.demo.watching import Demo
from worker.simulate.processes import DidNotStart
from worker.simulate.rabbitmq import NoBrokerError


async def demo(*, keep: Flag = False) -> int:
    """Start RabbitMQ, all roles, a simulated Vapi and HubSpot, let calls of every kind end, and add up.

    Example: aftercall demo --keep

    Things go wrong on purpose: late and missing answers, errors, doubled and forged webhooks, broken reports. Exits 0
    only if every call that ended is enriched, or dead with a reason, and every subscriber has it once. It needs no
    account, and starts its own RabbitMQ unless AFTERCALL_AMQP_URL names one.

    Parameters
    ----------
    keep
        Stay up afterwards, until Ctrl-C.

    """
    console = Console()
    try:
        async with running(os.environ, partial(console.print, style="dim", soft_wrap=True)) as started:
            await _watch(started, console)
            account = await started.account()
            console.print(_summary(account))
            if keep and sys.stdin.isatty():
                await _stay(started, console)
    except (NoBrokerError, DidNotStart) as error:
        raise Unreachable(str(error)) from error
    return 0 if account.adds_up else FOUND


async def _watch(started: Demo, console: Console) -> None:
    with _shown(started.settings, console) as show:
        try:
            await started.settled(show)
        except TimeoutError:
            console.print("Time is up; the account as it stands:")


def _shown(settings: Settings, console: Console) -> "_Screen":
    return _Screen(settings, console)


class _Screen:
    """A live table on a terminal, a line now and then elsewhere."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._last = ""

    def __enter__(self) -> Callable[[Picture], None]:
        if self._live:
            self._live.start()
        return self._show

    def __exit__(self, *_exception: object) -> None:
        if self._live:
            self._live.stop()

    def _show(self, picture: Picture) -> None:
        if self._live:
            self._live.update(_table(self._settings, picture))
        elif (line := _line(self._settings, picture)) != self._last:
            self._last = line
            self._console.print(line, highlight=False, soft_wrap=True)


def _figures(settings: Settings, picture: Picture) -> Iterator[tuple[str, int]]:
    tally = picture.tally
    yield "ended at Vapi", picture.ended
    yield "in", tally.came_in
    yield "waiting", picture.waiting
    yield "enriched", len(tally.enriched)
    yield from ((f"in calls.{name}", picture.depths[f"calls.{name}"]) for name in settings.subscribers)
    yield "incomplete", tally.incomplete
    yield "amended", len(tally.amended)
    yield "dead", picture.dead


def _line(settings: Settings, picture: Picture) -> str:
    return "  ".join(f"{name} {count}" for name, count in _figures(settings, picture) if count) or "no call yet"


def _table(settings: Settings, picture: Picture) -> Group:
    table = Table(title="calls on their way")
    for name, _count in _figures(settings, picture):
        table.add_column(name, justify="right")
    table.add_row(*(str(count) for _name, count in _figures(settings, picture)))
    outcomes = "   ".join(f"{result} {count}" for result, count in sorted(picture.tally.results.items()))
    return Group(table, Text(outcomes, style="dim"))


def _summary(account: Account) -> Table:
    table = Table(title="the account", show_header=False)
    dead = Counter((letter.queue, letter.reason) for letter in account.letters)
    table.add_row("calls ended at Vapi", str(len(account.ended)))
    table.add_row("broken reports sent on purpose", str(account.broken))
    table.add_row("enriched", str(len(account.tally.enriched)))
    table.add_row("  of them still incomplete", str(account.tally.incomplete))
    table.add_row("  of them amended", str(len(account.tally.amended)))
    table.add_row("duplicates under an old ce-id", str(account.tally.duplicates))
    for (queue, reason), count in sorted(dead.items()):
        table.add_row(f"dead: {reason}, in {queue}.dead", str(count))
    table.add_row("missing", str(len(account.missing)))
    for name, reached in account.reached.items():
        doubled = f", {reached.doubled} doubled" if reached.doubled else ""
        lacking = f", {count} MISSING" if (count := len(account.missing_at(name))) else ""
        has = f"{len(reached.has)}" if name != "alerts" else ""
        table.add_row(f"reached {name}", ", ".join(filter(None, (has, reached.told))) + doubled + lacking)
    table.caption = "it adds up" if account.adds_up else "IT DOES NOT ADD UP"
    return table


async def _stay(started: Demo, console: Console) -> None:
    places, settings = started.places, started.settings
    console.print(f"The endpoint listens on port {settings.webhook_port}. Simulated are:")
    console.print(f"  Vapi     {places.vapi}/_simulate/account")
    console.print(f"  HubSpot  {places.hubspot}/_simulate/account")
    console.print(f"  a target {places.target}/_simulate/received")
    console.print("To look closer, in another terminal, and there `aftercall explain`, `calls`, `dead`, `doctor` …:")
    console.print(f"  . {places.folder}/{ENVIRONMENT}", soft_wrap=True)
    console.print(f"Logs are in {places.folder}. Ctrl-C ends it.")
    await asyncio.Event().wait()
