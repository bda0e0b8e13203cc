"""What a rehearsal's messages look like on the screen."""

import sys
from collections.abc import Sequence

from consumers.alerts.rehearsal import Said
from consumers.timestamps import iso
from worker.cli.output import Format, print_json


def show_said(said: Sequence[Said], output: Format) -> None:
    """Print what would have been said: each message as it would read, or all as one JSON list."""
    if output == "json":
        print_json([_row(each) for each in said])
    else:
        sys.stdout.writelines(_page(each) for each in said)


def _row(said: Said) -> dict[str, str]:
    words = said.announcement
    return {
        "at": iso(said.at),
        "what": words.what,
        "rule": said.rule,
        "account": said.account,
        "title": words.title,
        "body": words.body,
    }


def _page(said: Said) -> str:
    words = said.announcement
    lines = (f"  {line}".rstrip() for line in words.body.splitlines())
    return "\n".join((f"{iso(said.at)}  {words.what:<8}  {words.title}", *lines, "", ""))
