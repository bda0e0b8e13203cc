"""`aftercall webhook`, `consume` and `all`: which roles a process has; the parts of each stand in a file beside."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Annotated, Final, cast

from cyclopts import Parameter

from worker.broker.users import handler_role
from worker.cli.exit_codes import WrongArguments
from worker.cli.output import say
from worker.cli.roles.subscribers.alerts.needs import lack_of_alerts
from worker.cli.roles.subscribers.subscriber import start_own
from worker.cli.running.serving import Start, run
from worker.settings import Settings, SettingsError, load, require, with_queue
from worker.settings.fields import SUBSCRIBERS

ENDPOINT: Final = "worker.cli.roles.endpoint:start_endpoint"
SWEEP: Final = "worker.cli.roles.sweeper:start_sweep"
NO_CRM: Final = "no account has a token for HubSpot: set AFTERCALL_CRM_TOKEN, or AFTERCALL_ACCOUNTS__<NAME>__CRM_TOKEN"
NO_TARGET: Final = 'aftercall.toml names no target: add a table [forward.<name>] with its url = "https://…"'
CONSUMERS: Final[Mapping[str, str]] = {
    "enrich": "worker.cli.roles.enricher:start_enricher",
    "ledger": "worker.cli.roles.subscribers.ledger:start_ledger",
    "alerts": "worker.cli.roles.subscribers.alerts.consumer:start_alerts",
    "crm": "worker.cli.roles.subscribers.crm:start_crm",
    "postcall": "worker.cli.roles.subscribers.postcall:start_postcall",
    "forward": "worker.cli.roles.subscribers.forward:start_forward",
}
NEEDS: Final[Mapping[str, Callable[[Settings], str | None]]] = {
    "alerts": lack_of_alerts,
    "crm": lambda settings: None if any(each.crm_token for each in settings.accounts) else NO_CRM,
    "forward": lambda settings: None if settings.forward else NO_TARGET,
}
"""What a consumer cannot run without, and what to do where it is missing; None if all is there."""


def webhook() -> int:
    """Serve the endpoint that Vapi posts to.

    Example: AFTERCALL_WEBHOOK_SECRETS=s3cret aftercall webhook

    It answers 200 once the notification is on disk, at RabbitMQ or in the spool. Settings are the environment variables
    AFTERCALL_…, or the same keys in aftercall.toml; `aftercall config` shows them. Probes and metrics are on the admin
    port.
    """
    settings = load(os.environ)
    require(settings, webhook=True)
    return run(settings, {"webhook": _load(ENDPOINT)})


def consume(
    *names: Annotated[str, Parameter(help="one of those above; or a handler of yours as package.module:function")],
    queue: Annotated[str, Parameter(help="the name of your handler's queue: billing is calls.billing")] = "",
) -> int:
    """Run consumers until told to stop.

    `enrich` fetches each ended call from Vapi and passes it on, complete. `ledger` writes each event of each call to
    the database of AFTERCALL_LEDGER_URL. `postcall` keeps each call whole in that of AFTERCALL_ARCHIVE_URL. `crm` logs
    each call in HubSpot, once. `forward` posts each call to the targets of aftercall.toml. `alerts` tells people of
    failed calls, or what the rules of aftercall.toml say.
    A handler of yours is given each enriched call: `async def handle(call: EnrichedCall) -> None`, or a plain function,
    which runs in a thread; it may raise `Retry` or `Reject`.

    Example: AFTERCALL_VAPI_API_KEY=… AFTERCALL_ADMIN_PORT=9091 aftercall consume enrich

    Example: aftercall consume mypackage.billing:handle --queue billing

    At SIGTERM it takes no more, finishes what it has in hand within AFTERCALL_GRACE_S, and leaves the rest to others.
    """
    own = [name for name in names if ":" in name]
    _require_known(names, own, queue)
    settings = load(os.environ)
    require(settings, vapi="enrich" in names)
    built_in = [name for name in names if name not in own]
    _require_usable(settings, built_in)
    roles: dict[str, Start] = {name: _load(CONSUMERS[name]) for name in built_in}
    if own:
        settings = _with_queue(settings, queue)
        roles[own[0]] = partial(start_own, target=own[0], name=queue)
    return run(settings, roles, [*built_in, *([handler_role(queue)] if own else [])])


def every_role() -> int:
    """Run every role in one process, for small installations.

    Example: aftercall all

    These are the endpoint, the enricher, the sweep, and each of AFTERCALL_SUBSCRIBERS that has what it needs.
    """
    settings = load(os.environ)
    require(settings, webhook=True, vapi=True)
    lacks = {name: _lack(settings, name) for name in ("enrich", *settings.subscribers) if name in CONSUMERS}
    for name, lack in lacks.items():
        if lack is not None:
            say(f"{name} does not run, and its queue fills: {lack}")
    able = {name: _load(CONSUMERS[name]) for name, lack in lacks.items() if lack is None}
    return run(settings, {**able, "sweep": _load(SWEEP), "webhook": _load(ENDPOINT)})


def _require_known(names: Sequence[str], own: Sequence[str], queue: str) -> None:
    problems = []
    if not names or (unknown := sorted(set(names) - CONSUMERS.keys() - set(own))):
        told = ", ".join(unknown) if names else "no name"
        problems.append(f"{told}: the consumers are {', '.join(CONSUMERS)}, and yours as package.module:function")
    if len(own) > 1:
        problems.append("one handler of yours to a process: each has a queue of its own")
    if own and not queue:
        problems.append(f"{own[0]}: name its queue, as in --queue billing, which is calls.billing")
    if queue and not own:
        problems.append("--queue names the queue of a handler of yours: name it too, as package.module:function")
    if problems:
        raise WrongArguments(*problems)


def _with_queue(settings: Settings, name: str) -> Settings:
    try:
        bound = with_queue(settings, name)
    except ValueError as error:
        raise WrongArguments(f"--queue {name}: {error}") from error
    if name not in settings.bindings:
        say(f"calls.{name} gets every call; put [subscribers.{name}] in aftercall.toml: doctor and dead look there")
    return bound


def _require_usable(settings: Settings, names: Iterable[str]) -> None:
    if problems := [f"{name}: {lack}" for name in names if (lack := _lack(settings, name)) is not None]:
        raise SettingsError(problems)


def _lack(settings: Settings, name: str) -> str | None:
    """What a built-in consumer needs and does not have."""
    if name in SUBSCRIBERS and name not in settings.subscribers:
        return f"AFTERCALL_SUBSCRIBERS has no {name}, so nothing is put into that queue: add it there"
    needs = NEEDS.get(name)
    return needs(settings) if needs else None


def _load(place: str) -> Start:
    """What starts a role; only those that run are loaded, with the libraries they need."""
    module, _, function = place.partition(":")
    return cast("Start", getattr(import_module(module), function))
