"""`aftercall simulate` and `aftercall send`: what one develops and tries things with."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import uvloop
from cyclopts import Parameter

from worker.cli.arguments import Count, Port
from worker.cli.exit_codes import FOUND, WrongArguments
from worker.cli.listening import not_listening
from worker.cli.output import Format, print_rows, say
from worker.ingress.signature import signer
from worker.settings import Account, Settings, load
from worker.simulate.faults import Faults
from worker.simulate.send import Answer, BackoffPlan
from worker.simulate.send import send as post_all
from worker.simulate.vapi import SimulatedVapi, SimulatorSettings


def simulate(  # noqa: PLR0913  # each is an option of the command
    *,
    port: Port = 8090,
    host: str = "127.0.0.1",
    rate: float = 1.0,
    count: Count | None = None,
    seed: int = 1,
    webhook_url: str = "http://127.0.0.1:8080/webhooks/vapi",
    account: str = "default",
    faults: str = "",
    size_bytes: Count | None = None,
    time_scale: float = 1.0,
    webhook_retries: int = 0,
) -> int:
    """Run a simulated Vapi: it ends calls, posts their webhooks, and serves `GET /call/<id>` and `GET /call`.

    Example: aftercall simulate --rate 5 --faults late=0.1,server_error=0.05,doubled=0.02

    The same seed makes the same calls. The API key is AFTERCALL_VAPI_API_KEY and the webhooks are signed as the
    account's settings ask. Under /_simulate/ the account can be read and faults changed while it runs. Stops at Ctrl-C.

    Parameters
    ----------
    rate
        Calls ended a second; 0 ends none by itself.
    count
        Stop ending calls after so many (and go on serving); no limit if not given.
    faults
        What goes wrong, and how often: late, not_found, rate_limited, server_error, slow, truncated, gone, dropped,
        doubled, out_of_order, bad_credentials, lone_surrogate; everything=0.1 is all of them.
    size_bytes
        The size of each call; if not given, all sizes from 2 KB to 500 KB.
    time_scale
        Multiplies the seconds that faults last.
    webhook_retries
        How often a refused webhook is sent again, as Vapi does with a backoffPlan; it has none by default.

    """
    settings = load(os.environ)
    served = _account(settings, account)
    try:
        simulator = SimulatorSettings(
            api_key=served.vapi_api_key.reveal() or "simulated",
            webhook_url=webhook_url,
            signer=signer(served),
            host=host,
            port=port,
            seed=seed,
            rate=rate,
            count=count if rate > 0 else 0,
            size_bytes=size_bytes,
            faults=Faults.parse(faults),
            time_scale=time_scale,
            webhook_retries=BackoffPlan(webhook_retries, 1.0) if webhook_retries else None,
        )
    except ValueError as error:
        raise WrongArguments(str(error)) from error
    return uvloop.run(_simulate(simulator))


async def _simulate(settings: SimulatorSettings) -> int:
    try:
        async with SimulatedVapi(settings) as vapi:
            say(f"The simulated Vapi serves {vapi.url} and posts to {settings.webhook_url}. Ctrl-C stops it.")
            await asyncio.Event().wait()
    except OSError as error:
        told = not_listening(error, settings.host, settings.port, keys=("--host", "--port"))
        raise WrongArguments(told) from error
    return 0


async def send(
    *files: Annotated[Path, Parameter(help="bodies of webhooks, as Vapi would post them")],
    url: str = "",
    account: str = "default",
    times: Count = 1,
    concurrency: Count = 16,
    output: Format = "text",
) -> int:
    """Post webhook bodies to the endpoint as Vapi would, signed as the settings ask.

    Example: aftercall send report.json --times 50

    Exits 1 if one of them was not answered with a 2xx.

    Parameters
    ----------
    url
        The endpoint; if not given, the one of the settings on this machine.
    times
        How often each file is sent.

    """
    settings = load(os.environ)
    served = _account(settings, account)
    path = "/webhooks/vapi" if account == "default" else f"/webhooks/vapi/{account}"
    target = url or f"http://127.0.0.1:{settings.webhook_port}{path}"
    answers = await post_all(_bodies(files) * times, url=target, signer=signer(served), concurrency=concurrency)
    print_rows([_row(answer) for answer in answers], output)
    return 0 if all(answer.is_accepted for answer in answers) else FOUND


def _account(settings: Settings, name: str) -> Account:
    found = settings.account(name)
    if found is None:
        raise WrongArguments(f"--account {name}: the accounts are {', '.join(each.name for each in settings.accounts)}")
    return found


def _bodies(files: tuple[Path, ...]) -> list[tuple[str, bytes]]:
    if not files:
        raise WrongArguments("no FILE is given: a body of a webhook, as Vapi would post it")
    try:
        return [(str(path), path.read_bytes()) for path in files]
    except OSError as error:
        raise WrongArguments(f"cannot read {error.filename}: {error.strerror}") from error


def _row(answer: Answer) -> dict[str, object]:
    return {
        "file": answer.name,
        "status": answer.status or "none",
        "seconds": round(answer.seconds, 3),
        "error": answer.error,
    }
