"""`aftercall tail`: enriched calls as they pass, live."""

import os
import sys
from contextlib import aclosing
from functools import partial
from typing import Final

import orjson
from aio_pika.abc import AbstractIncomingMessage

from consumers.messages import unpack
from worker.broker.deliver import read
from worker.broker.reach import reached
from worker.broker.watch import watch
from worker.cli.arguments import Count
from worker.cli.broker import needing_broker
from worker.cli.output import Format, say
from worker.settings import Settings, load

KEYS: Final = ("call.enriched.#", "call.amended.#")


async def tail(*, limit: Count | None = None, output: Format = "text") -> None:
    """Show enriched and amended calls as they pass, until Ctrl-C.

    Example: aftercall tail --output json | jq .outcome

    It looks on through a queue of its own, which goes with it; no subscriber misses anything.

    Parameters
    ----------
    limit
        Stop after so many calls.
    output
        text: a line each. json: the whole event, a line each.

    """
    settings = load(os.environ)
    with needing_broker():
        await _follow(settings, limit, output)


async def _follow(settings: Settings, limit: int | None, output: Format) -> None:
    async with reached(settings.amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        passing = watch(channel, KEYS, begun=partial(say, "Waiting for enriched calls …"))
        async with aclosing(passing):  # type: ignore[type-var]  # an async generator
            shown = 0
            async for message in passing:
                sys.stdout.write((_json_line(message) if output == "json" else _line(message)) + "\n")
                sys.stdout.flush()
                shown += 1
                if shown == limit:
                    return


def _json_line(message: AbstractIncomingMessage) -> str:
    return unpack(read(message, "")).decode()


def _line(message: AbstractIncomingMessage) -> str:
    call = orjson.loads(unpack(read(message, "")))
    state = "complete" if call["complete"] else f"without {', '.join(call['missing'])}"
    outcome = call["outcome"]
    parts = (
        call["timeline"]["emittedAt"][11:19],
        f"{call['account']:<12}",
        f"{outcome['result']:<9}",
        f"{outcome['reason']:<16}",
        call["callId"],
        f"v{call['version']}",
        state,
        f"({call['provenance']['source']}, {len(message.body):,} bytes)",
    )
    return "  ".join(parts)
