"""Which archived calls a command is about, as its options say."""

import time
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from consumers.ended_reasons import Result
from consumers.facts import Direction
from consumers.postcall import WantedCalls, spellings_of
from consumers.words import Term
from worker.cli.arguments import moment_of, seconds_of
from worker.cli.exit_codes import WrongArguments

Words = Annotated[tuple[str, ...], Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True)
class Which:
    """Which calls: those that fit all that is given. An option given several times means any one of its values."""

    account: Annotated[Words, Parameter(help="the account")] = ()
    call_id: Annotated[Words, Parameter(help="the call")] = ()
    since: Annotated[str, Parameter(help="ended since: `24h` ago, or a time such as `2026-08-31T17:00:00Z`")] = ""
    until: Annotated[str, Parameter(help="ended before: likewise")] = ""
    result: Annotated[tuple[Result, ...], Parameter(negative="", help="what became of it")] = ()
    reason: Annotated[Words, Parameter(help="the class of its endedReason: `voicemail`, `pipeline-error`, …")] = ()
    direction: Annotated[tuple[Direction, ...], Parameter(negative="", help="which way it went")] = ()
    number: Annotated[str, Parameter(help="the customer's or ours, however written")] = ""
    assistant: Annotated[Words, Parameter(help="the assistant's id")] = ()
    min_cost: Annotated[float | None, Parameter(help="US dollars at least")] = None
    max_cost: Annotated[float | None, Parameter(help="US dollars at most")] = None
    min_duration: Annotated[str, Parameter(help="it lasted at least: `90s`, `15m`")] = ""
    max_duration: Annotated[str, Parameter(help="it lasted at most")] = ""

    def wanted(self, terms: tuple[Term, ...] = ()) -> WantedCalls:
        """The same as a filter. Raises `WrongArguments` for a time or duration that is none."""
        now = time.time()
        since = moment_of(self.since, "--since", now) if self.since else None
        until = moment_of(self.until, "--until", now) if self.until else None
        if since is not None and until is not None and since >= until:
            raise WrongArguments(f"--since {self.since} is not before --until {self.until}, so no call can fit")
        return WantedCalls(
            accounts=self.account,
            call_ids=self.call_id,
            results=self.result,
            reasons=self.reason,
            directions=self.direction,
            assistants=self.assistant,
            numbers=_spellings(self.number),
            since=since,
            until=until,
            min_cost=self.min_cost,
            max_cost=self.max_cost,
            min_duration_s=seconds_of(self.min_duration, "--min-duration") if self.min_duration else None,
            max_duration_s=seconds_of(self.max_duration, "--max-duration") if self.max_duration else None,
            terms=terms,
        )


def _spellings(number: str) -> tuple[str, ...]:
    if number and not (spellings := spellings_of(number)):
        raise WrongArguments(f"--number {number!r}: a number such as +15035550167")
    return spellings if number else ()
