"""`aftercall explain`: the life of one call, asked of the ledger, the broker, the spool and Vapi at once."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

from cyclopts import Parameter

from consumers.dead_letters import Letter, Wanted
from consumers.ledger import Event
from consumers.messages import CALL_ID, EVENTS
from consumers.outcomes import DatabaseAway
from consumers.prospects import Rules
from consumers.replays import Destination
from consumers.story import AtVapi, Story, read_at_vapi, tell
from worker.broker.counts import Count, counts
from worker.broker.dead_letters import takers_of
from worker.broker.topology import topology_of
from worker.cli.dead.places import opened
from worker.cli.exit_codes import DONE, FOUND, Unreachable, WrongArguments
from worker.cli.explain.page import Findings, document, page, unknown
from worker.cli.output import Format, print_json, say
from worker.clients.ledger.ledger import Ledger
from worker.clients.vapi import vapi_session
from worker.clients.vapi_account import ask
from worker.clients.vapi_http import call_path
from worker.ingress.spool.look import kept_for
from worker.ingress.spool.writer import SpoolFailed
from worker.settings import Account, Settings, load

T = TypeVar("T")
ASK_S: Final = 12.0
"""How long each place has to answer; one that does not is told of, and the others are shown."""


async def explain(id_: Annotated[str, Parameter(name="CALL_ID")], /, *, output: Format = "text") -> int:
    """Tell the life of one call: when it came in, each attempt, what went out and where to, and what comes next.

    Example: aftercall explain 01a058c7-4c94-7cd1-8155-66af75f0734c

    It asks the ledger for the story, the broker for dead letters and depths, and Vapi (every account's) for the call.
    What does not answer is named, and the rest is shown. Exits 1 for a call that is known nowhere here, 69 if neither
    ledger nor broker nor Vapi could be asked.
    """
    settings, call_id = load(os.environ), id_.strip()
    if not CALL_ID.fullmatch(call_id):
        raise WrongArguments(f"CALL_ID {id_!r}: the id of a call is 1 to 128 printable characters without spaces")
    findings = await _ask_everywhere(settings, call_id)
    if not findings.was_asked:
        vapi = [f"Vapi, account {each.account}: {each.trouble}" for each in findings.at_vapi]
        raise Unreachable("\n  ".join(["Nobody could be asked:", *findings.not_asked, *vapi]))
    stories = _stories(findings, settings)
    if output == "json":
        print_json(document(call_id, stories, findings))
    elif stories or findings.kept_at:
        sys.stdout.write(page(call_id, stories, findings))
    else:
        say(unknown(call_id, findings))
    return DONE if stories or findings.kept_at else FOUND


async def _ask_everywhere(settings: Settings, call_id: str) -> Findings:
    not_asked: list[str] = []

    async def asked(what: str, answer: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(ASK_S):
                return await answer
        except TimeoutError:
            not_asked.append(f"{what}: no answer within {ASK_S:g} s")
        except (DatabaseAway, Unreachable, SpoolFailed) as error:
            not_asked.append(f"{what}: {(error.__cause__ or error) if isinstance(error, Unreachable) else error}")
        return None

    events, at_broker, kept_at, at_vapi = await asyncio.gather(
        asked("the ledger", _events(settings, call_id)),
        asked("the broker", _at_broker(settings, call_id)),
        asked("the spool", asyncio.to_thread(kept_for, Path(settings.spool_dir), call_id)),
        asyncio.gather(*(_at_vapi(account, call_id) for account in settings.accounts)),
    )
    letters, ready = at_broker or (None, {})
    return Findings(
        events=None if events is None else tuple(events),
        letters=letters,
        ready={name: count.ready for name, count in ready.items()},
        kept_at=tuple(kept_at or ()),
        at_vapi=tuple(at_vapi),
        not_asked=tuple(not_asked),
    )


async def _events(settings: Settings, call_id: str) -> list[Event]:
    if not settings.keeps_ledger:
        raise DatabaseAway("AFTERCALL_SUBSCRIBERS has none, so nobody keeps the story of a call")
    ledger = Ledger(settings.ledger_url, waiting_s=0, answer_s=ASK_S)
    try:
        # Looked at before it is opened, which would make a database where there is none.
        found, wanted = await ledger.ask(lambda store: store.schema())
        if found == wanted:
            return await ledger.story(call_id)
    finally:
        await ledger.close()
    if found == 0:
        raise DatabaseAway(
            "there is none yet: `aftercall consume ledger` makes it"
            " (a path in AFTERCALL_LEDGER_URL is relative to the working directory)"
        )
    raise DatabaseAway(f"its schema is {found} and this version of aftercall works with {wanted}")


async def _at_broker(settings: Settings, call_id: str) -> tuple[tuple[Letter, ...], Mapping[str, Count]]:
    topology = topology_of(settings)
    async with opened(settings, Wanted(call_ids=frozenset({call_id}))) as place:
        ready = await counts(place.connection, (queue.name for queue in topology.queues))
        async with place.letters() as found:
            letters = [each.letter async for each in found]
    return tuple(letters), ready


async def _at_vapi(account: Account, call_id: str) -> AtVapi:
    if not account.vapi_api_key:
        return AtVapi(account=account.name, trouble="no key is set")
    async with vapi_session(1) as http:
        answer = await ask(account, http, call_path(call_id))
    if answer.status in (400, 404):
        return AtVapi(account=account.name)
    if answer.status == 200 and isinstance(answer.body, dict):  # noqa: PLR2004
        return read_at_vapi(account.name, answer.body)
    return AtVapi(account=account.name, trouble=answer.trouble or _refusal(answer.status))


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"Vapi refuses the key ({status})"
    return "Vapi answers 200, but not with a call" if status == 200 else f"Vapi answers {status}"  # noqa: PLR2004


def _stories(findings: Findings, settings: Settings) -> list[Story]:
    topology = topology_of(settings)

    def reached(routing_key: str) -> Sequence[str]:
        return sorted(set(takers_of(topology, Destination(EVENTS, routing_key))))  # one may have two bindings that fit

    rules = Rules(emit_after_s=settings.emit_after_s, give_up_after_s=settings.give_up_after_s, reached=reached)
    events, letters = findings.events or (), findings.letters
    stories = []
    accounts = {event.account for event in events} | {letter.account for letter in letters or ()}
    for account in sorted(accounts):
        told = [event for event in events if event.account == account]
        here = None if letters is None else [letter for letter in letters if letter.account == account]
        ended_at = next((each.ended_at for each in findings.at_vapi if each.account == account), None)
        stories.append(tell(told, here, rules, now=time.time(), ended_at=ended_at))
    return stories
