"""The commands of `aftercall alerts`."""

import os
import time
from contextlib import aclosing
from typing import Final

from cyclopts import App
from msgspec.structs import replace

from consumers.alerts.groups import State
from consumers.alerts.rehearsal import Rehearsal, Said
from consumers.alerts.rules import Rule
from consumers.alerts.table import Alerts
from consumers.alerts.texts import Announcement, Example, announce
from consumers.timestamps import iso
from worker.cli.alerts.archived import archived_calls
from worker.cli.alerts.pages import show_said
from worker.cli.arguments import moment_of
from worker.cli.calls.reading import reading
from worker.cli.exit_codes import DONE, UNREACHABLE, WrongArguments
from worker.cli.output import Format, print_rows, say
from worker.cli.roles.subscribers.alerts.needs import lack_of_alerts
from worker.clients.notify import KEY, Notifier, NotTold, labels_of
from worker.settings import SettingsError, load

INVENTED: Final = Example("00000000-0000-7000-8000-000000000000", "an invented call")

app = App(
    name="alerts",
    help="""Try out alerts: send a message to the targets, or see what the rules would have said of archived calls.

Example: aftercall alerts preview --since 24h
""",
)


@app.command(name="test")
async def try_out(*, rule: str = "", output: Format = "text") -> int:
    """Send a test message to every target, or to those of one rule, worded as an alert would be.

    Example: aftercall alerts test --rule "failed calls"

    Exits 69 if a target does not take it.

    Parameters
    ----------
    rule
        The name of a rule: its targets alone get the message, in its words.

    """
    settings = load(os.environ)
    asked = _rule_named(settings.alerts, rule)
    if (lack := lack_of_alerts(settings)) is not None:
        raise SettingsError([lack])
    notifier = Notifier(settings.alerts_urls)
    try:
        await notifier.check()
        labels = labels_of(asked.to, notifier.labels()) if rule else notifier.labels()
        if not labels:
            raise SettingsError([f"{KEY} is not set, so alerts are only logged: there is nobody to test"])
        rows = [{"target": label, "told": await _told(notifier, label, _sample(asked))} for label in labels]
    finally:
        notifier.close()
    print_rows(rows, output)
    return DONE if all(row["told"] == "yes" for row in rows) else UNREACHABLE


@app.command
async def preview(*, since: str = "24h", until: str = "0s", rule: str = "", output: Format = "text") -> int:
    """Show what the rules would have said about archived calls, by the times at which they ended. Nothing is sent.

    Example: aftercall alerts preview --since 7d --rule "failed calls"

    It reads the archive that `aftercall consume postcall` keeps (AFTERCALL_ARCHIVE_URL).

    Parameters
    ----------
    since
        So long ago, such as 24h or 7d, or a time such as 2026-08-31T17:00:00Z.
    until
        The same; now, unless it is given.
    rule
        The name of a rule: what it alone would have said.

    """
    settings, now = load(os.environ), time.time()
    began_at, ended_at = moment_of(since, "--since", now), moment_of(until, "--until", now)
    alerts = replace(settings.alerts, rules=(_rule_named(settings.alerts, rule),)) if rule else settings.alerts
    rehearsal = Rehearsal(alerts, [account.name for account in settings.accounts], began_at)
    said: list[Said] = []
    count = 0
    async with reading(settings) as archive, aclosing(archived_calls(archive, began_at, ended_at)) as calls:
        async for call in calls:
            count += 1
            said += rehearsal.hear(call)
    said += rehearsal.until(ended_at)
    show_said(said, output)
    say(f"{count:,} archived calls from {iso(began_at)} to {iso(ended_at)}, {len(said):,} messages.")
    return DONE


def _rule_named(alerts: Alerts, name: str) -> Rule:
    """The rule of that name; the first, for none."""
    if found := next((rule for rule in alerts.in_force if name in ("", rule.name)), None):
        return found
    raise WrongArguments(f"--rule {name!r}: the rules are {', '.join(repr(rule.name) for rule in alerts.in_force)}")


async def _told(notifier: Notifier, label: str, announcement: Announcement) -> str:
    try:
        await notifier.tell(label, announcement)
    except NotTold as error:
        return f"no: {error}"
    return "yes"


def _sample(rule: Rule) -> Announcement:
    now = time.time()
    bound = rule.above if rule.above is not None else rule.below
    state = State(watched_since=0, since=now - 60, last_at=now, count=1, value=bound, calls=1)
    words = announce("raised", rule, "default", state, [INVENTED])
    return replace(words, title=f"TEST, nothing happened: {words.title}")
