"""Which letters a command is about, as its options say."""

import time
from dataclasses import dataclass, replace
from typing import Annotated

from cyclopts import Parameter

from consumers.dead_letters import Wanted, queue_named
from worker.cli.arguments import Count, Flag, moment_of, seconds_of

Words = Annotated[tuple[str, ...], Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True)
class Which:
    """Which letters: those that fit all that is given. An option given several times means any one of its values."""

    queue: Annotated[Words, Parameter(help="the queue it failed in: `calls.crm`, or `crm`")] = ()
    reason: Annotated[Words, Parameter(help="`rejected`, `gave-up`, `undecodable`, `delivery-limit`, …")] = ()
    account: Annotated[Words, Parameter(help="the account")] = ()
    call_id: Annotated[Words, Parameter(help="the call")] = ()
    id: Annotated[Words, Parameter(help="the letter, as `dead list` shows it")] = ()
    older_than: Annotated[str, Parameter(help="died longer ago than this: `90m`, `2h`, `7d`")] = ""
    since: Annotated[str, Parameter(help="died since: `2h` ago, or a time such as `2026-08-31T17:00:00Z`")] = ""

    def wanted(self) -> Wanted:
        """The same as a filter. Raises `WrongArguments` for a duration that is none."""
        now = time.time()
        return Wanted(
            ids=frozenset(self.id),
            queues=frozenset(map(queue_named, self.queue)),
            reasons=frozenset(self.reason),
            accounts=frozenset(self.account),
            call_ids=frozenset(self.call_id),
            since=moment_of(self.since, "--since", now) if self.since else None,
            until=now - seconds_of(self.older_than, "--older-than") if self.older_than else None,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Chosen(Which):
    """Which letters, said deliberately: something is going to happen to them."""

    all: Annotated[Flag, Parameter(help="all letters there are")] = False
    limit: Annotated[Count | None, Parameter(help="so many at most, the oldest of each queue first")] = None

    @property
    def is_said(self) -> bool:
        """Whether anything was said of which."""
        return replace(self, limit=None) != Chosen()
