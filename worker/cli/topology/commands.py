"""`aftercall topology`: the exchanges, queues and bindings, as they are to be and as they are."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import orjson
from cyclopts import App, Parameter
from yarl import URL

from worker.broker import declare
from worker.broker.asyncapi import asyncapi
from worker.broker.comparing import compared
from worker.broker.export import access, definitions
from worker.broker.management import vhost_of
from worker.broker.operator import as_yaml, topology_resources, user_resources
from worker.broker.reach import reached
from worker.broker.topology import Exchange, Queue, Topology, topology_of
from worker.cli.broker import needing_broker
from worker.cli.exit_codes import DONE, FOUND, WrongArguments
from worker.cli.output import Format, print_json, print_rows, say
from worker.cli.topology.users import chosen_users, passwords_in
from worker.settings import load

app = App(
    name="topology",
    help="""Show, apply, check or export the exchanges, queues and bindings.

Example: aftercall topology check --output json
""",
)


@app.command
async def show(*, output: Format = "text") -> int:
    """Show the exchanges, queues and bindings that the settings ask for. Asks no broker.

    Example: aftercall topology show --output json
    """
    topology = topology_of(load(os.environ))
    if output == "json":
        print_json(msgspec.to_builtins(topology))
        return DONE
    bindings = [{"exchange": each.exchange, "key": each.key, "queue": each.queue} for each in topology.bindings]
    for rows in (_rows(topology.exchanges), _rows(topology.queues), bindings):
        print_rows(rows, output)
        sys.stdout.write("\n")
    return DONE


@app.command
async def apply() -> int:
    """Declare on the broker what is missing. Nothing is ever changed or deleted.

    Example: AFTERCALL_AMQP_URL=amqp://admin:…@rabbit/calls aftercall topology apply

    What exists with other arguments is named, and left as it is with its messages; the exit code is 1 then.
    """
    settings = load(os.environ)
    topology = topology_of(settings)
    try:
        with needing_broker():
            async with reached(settings.amqp_url) as connection:
                await declare.apply(connection, topology)
    except declare.TopologyDiffers as error:
        sys.stdout.writelines(f"{difference}\n" for difference in error.differences)
        return FOUND
    say(f"The broker has all {_count(topology)}.")
    return DONE


@app.command
async def check(*, output: Format = "text") -> int:
    """Compare the broker with what the settings ask for, and name each difference. Changes nothing.

    Example: aftercall topology check && echo as it should be

    Bindings and policies are compared through RabbitMQ's management API: that of AFTERCALL_AMQP_MANAGEMENT_URL, else
    port 15672 of the broker. Where there is none, exchanges and queues are compared over AMQP, and it is said.
    The exit code is 1 if anything differs.
    """
    settings = load(os.environ)
    topology = topology_of(settings)
    with needing_broker():
        comparison = await compared(settings)
    for subject in comparison.not_compared:
        say(f"Not compared: {subject}\n  mend: {comparison.mend}")
    if output == "json":
        print_json(msgspec.to_builtins(comparison))
    else:
        sys.stdout.writelines(f"{difference}\n" for difference in comparison.differences)
    if not comparison.differences:
        say(f"Nothing differs in what was compared of {_count(topology)}.")
    return FOUND if comparison.differences else DONE


@app.command
async def export(
    *,
    format_: Annotated[
        Literal["definitions", "operator", "asyncapi"],
        Parameter(
            name="--format",
            help="RabbitMQ definitions; resources of its Messaging Topology Operator; or an AsyncAPI 3.0 document",
        ),
    ] = "definitions",
    output_file: Annotated[Path | None, Parameter(help="the file to write; standard output if none")] = None,
    users: Annotated[
        str | None,
        Parameter(help="the users of these roles alone, as in webhook,enrich,ledger; `every` is each role there is"),
    ] = None,
    passwords: Annotated[
        Path | None, Parameter(help="a folder with a file for each user, such as aftercall-webhook: its password")
    ] = None,
    cluster: Annotated[str, Parameter(help="for operator: the name of the RabbitmqCluster")] = "rabbitmq",
) -> int:
    """Write the topology, or the users with exactly the rights of their roles, in a form that others read.

    Example: aftercall topology export | rabbitmqctl import_definitions

    Example: aftercall topology export --passwords passwords --output-file users.json

    Example: aftercall topology export --format operator --users topology,webhook,enrich,ledger | kubectl apply -f -

    It asks no broker. The virtual host must exist. Importing definitions skips an exchange or queue that exists, even
    if it is different: `aftercall topology check` tells. Users are written on their own, to be imported after the
    topology is there: RabbitMQ 4.3 takes them only then. Passwords are never made up: of a user without a file in
    `--passwords` only the rights are written, and it must exist before (`rabbitmqctl add_user`). What is written has
    their hashes. To the operator, each password is the Secret `<user>-rabbitmq`, with the keys username and password.
    """
    settings = load(os.environ)
    topology = topology_of(settings)
    vhost = vhost_of(URL(settings.amqp_url.each()[0]))
    given = passwords_in(passwords)
    chosen = chosen_users(topology, users, given)
    if format_ == "operator":
        accessing, declaring = user_resources(chosen, vhost, cluster), topology_resources(topology, vhost, cluster)
        return _write(as_yaml(accessing if chosen else declaring).encode(), output_file)
    if format_ == "asyncapi":
        return _write(_json(asyncapi(topology, settings)), output_file)
    if without := [user.name for user in chosen if user.name not in given]:
        say(f"Without a password here, so they must exist before this is imported: {', '.join(without)}")
    return _write(_json(access(chosen, vhost, given) if chosen else definitions(topology, vhost)), output_file)


def _json(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _write(content: bytes, path: Path | None) -> int:
    if path is None:
        sys.stdout.write(content.decode())
        return DONE
    try:
        path.touch(mode=0o600)  # it may hold hashes of passwords
        path.write_bytes(content)
    except OSError as error:
        raise WrongArguments(f"cannot write {path}: {error.strerror}") from error
    return DONE


def _rows(things: Sequence[Exchange | Queue]) -> list[Mapping[str, Any]]:
    """A row for each, with a column for every argument that any has."""
    kind = "exchange" if isinstance(things[0], Exchange) else "queue"
    columns = {key: "" for each in things for key in each.arguments}
    rows: list[Mapping[str, Any]] = []
    for each in things:
        row = {kind: each.name} | ({"type": each.type} if isinstance(each, Exchange) else {})
        rows.append(row | {key.removeprefix("x-"): each.arguments.get(key, "") for key in columns})
    return rows


def _count(topology: Topology) -> str:
    sizes = (len(topology.exchanges), len(topology.queues), len(topology.bindings))
    return "{} exchanges, {} queues and {} bindings".format(*sizes)
