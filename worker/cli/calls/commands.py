"""The commands of `aftercall calls`."""

import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from consumers.postcall import CallRow, WantedCalls
from consumers.words import Term, WrongWords, snippet, terms_of
from worker.cli.arguments import Count, Flag
from worker.cli.calls.pages import FIRST_LINE, calls, document, line, page, printable
from worker.cli.calls.reading import reading
from worker.cli.calls.which import Which
from worker.cli.exit_codes import DONE, FOUND, WrongArguments
from worker.cli.output import Format, json_end, json_item, print_json, say
from worker.settings import load

LISTED: Final = 50
FOUND_MAX: Final = 20
ANY: Final = Which()

app = App(
    name="calls",
    help="""Look at the calls in the archive, which `aftercall consume postcall` keeps.

Example: aftercall calls search '"refund policy"' --since 7d
""",
)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How each call is shown: as text and as JSON, and the columns that it needs not."""

    text: Callable[[CallRow], str]
    data: Callable[[CallRow], dict[str, Any]]
    without: tuple[str, ...]
    heading: str = ""


@app.command(name="list")
async def list_(*, which: Which = ANY, limit: Count = LISTED, output: Format = "text") -> int:
    """List calls, the newest first.

    Example: aftercall calls list --result failed --since 24h

    Example: aftercall calls list --number "+1 503-555-0167" --output json

    Parameters
    ----------
    limit
        So many at most.

    """
    view = View(text=line, data=document, without=("body", "transcript"), heading=FIRST_LINE)
    return await _show_each(which.wanted(), limit, view, output)


@app.command
async def search(*words: str, which: Which = ANY, limit: Count = FOUND_MAX, output: Format = "text") -> int:
    """Find calls by what was said in them, or stands in their summary, the newest first.

    Example: aftercall calls search refund --since 7d

    Example: aftercall calls search '"credit card" refund* -voicemail' --account acme-dental

    All words must be there, in any order: "a b" is a phrase, a* the beginning of a word, and -a must not be there. Case
    and accents make no difference.

    Parameters
    ----------
    words
        What to look for; in single quotes where there is a phrase, a star or a minus.
    limit
        So many at most.

    """
    terms = _terms(" ".join(words))
    begin, end = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("**", "**")

    def found(row: CallRow) -> str:
        place = snippet((_plain(row.transcript), _plain(row.summary)), terms, begin=begin, end=end)
        return f"{line(row)}    {place}\n"

    def data(row: CallRow) -> dict[str, Any]:
        return document(row) | {"snippet": snippet((row.transcript, row.summary), terms, begin="**", end="**")}

    return await _show_each(which.wanted(terms), limit, View(text=found, data=data, without=("body",)), output)


@app.command
async def show(
    id_: Annotated[str, Parameter(name="CALL_ID")],
    /,
    *,
    account: str = "",
    transcript: Flag = False,
    output: Format = "text",
) -> int:
    """Show one call: who, how long, how it went, what it cost. As JSON, with the whole enriched call.

    Example: aftercall calls show 01a058c7-4c94-7cd1-8155-66af75f0734c --transcript

    Example: aftercall calls show 01a058c7-4c94-7cd1-8155-66af75f0734c --output json | jq .enriched.call.artifact

    Parameters
    ----------
    account
        Whose call, if it is in several accounts.
    transcript
        Show what was said too.

    """
    wanted = WantedCalls(call_ids=(id_.strip(),), accounts=(account,) if account else ())
    async with reading(load(os.environ)) as archive, aclosing(archive.calls(wanted)) as rows:
        found = [row async for row in rows]
    if not found:
        say(f"There is no call {id_} in the archive: `aftercall explain {id_}` tells what is known of it elsewhere.")
        return FOUND
    if len(found) > 1:
        whose = ", ".join(row.account for row in found)
        raise WrongArguments(f"the call {id_} is in the accounts {whose}: say which with --account")
    if output == "json":
        print_json(document(found[0], whole=True))
    else:
        sys.stdout.write(page(found[0], with_transcript=transcript))
    return DONE


def _terms(text: str) -> tuple[Term, ...]:
    try:
        return terms_of(text)
    except WrongWords as error:
        raise WrongArguments(str(error)) from error


def _plain(text: str | None) -> str:
    return printable(text or "")


async def _show_each(wanted: WantedCalls, limit: int, view: View, output: Format) -> int:
    count, is_cut = 0, False
    calls_there = reading(load(os.environ))
    async with calls_there as archive, aclosing(archive.calls(wanted, newest_first=True, without=view.without)) as rows:
        async for row in rows:
            if is_cut := count == limit:
                break
            heading = "" if count else view.heading
            sys.stdout.write(json_item(view.data(row), count) if output == "json" else heading + view.text(row))
            count += 1
    if output == "json":
        sys.stdout.write(json_end(count))
    say(f"The newest {calls(count)}; --limit shows more." if is_cut else f"{calls(count).capitalize()}.")
    return DONE
