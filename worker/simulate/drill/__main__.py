"""`python -m worker.simulate.drill`: run the loss drill, print its account, and exit 1 if a single call is missing."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from worker.simulate.drill.account import Account
from worker.simulate.drill.faults import FAULTS
from worker.simulate.drill.run import Drill, describe, run
from worker.simulate.processes import DidNotStart
from worker.simulate.rabbitmq import NoBrokerError

_EX_FOUND, _EX_USAGE, _EX_UNAVAILABLE = 1, 64, 69


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill that the arguments ask for; the exit code."""
    asked = _parser().parse_args(arguments)
    names = tuple(asked.faults.split(",")) if asked.faults else tuple(FAULTS)
    if unknown := sorted(set(names) - FAULTS.keys()):
        _say(f"{', '.join(unknown)}: the faults are {', '.join(FAULTS)}")
        return _EX_USAGE
    drill = Drill(
        seed=asked.seed,
        calls=asked.calls,
        seconds=asked.seconds,
        faults=names,
        patience_s=asked.patience,
        tell=_say,
        keep=asked.keep,
    )
    _log_nothing()
    try:
        account = asyncio.run(_until_told(drill))
    except (NoBrokerError, DidNotStart) as error:
        _say(str(error))
        return _EX_UNAVAILABLE
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 128 + signal.SIGTERM
    for name, value in describe(account).items():
        _say(f"{name:>16}  {value}")
    _say("It adds up." if account.adds_up else "IT DOES NOT ADD UP.")
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(account), indent=2))
    return 0 if account.adds_up else _EX_FOUND


async def _until_told(drill: Drill) -> Account:
    """Run it; at SIGTERM everything that it started is ended, in order."""
    running = asyncio.ensure_future(run(drill))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker.simulate.drill",
        description="Let calls end while everything goes wrong that can, mend it, and count the calls.",
        epilog=f"The faults: {', '.join(FAULTS)}.",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed strikes in the same order (1)")
    parser.add_argument("--calls", type=int, default=300, help="how many calls end (300)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they take, and the faults (60)")
    parser.add_argument("--faults", default="", help="the faults to choose from, comma-separated (all)")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for what must come (120)")
    parser.add_argument("--json", type=Path, help="write the account there")
    parser.add_argument("--keep", type=Path, help="a directory for logs and databases, which stay")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _log_nothing() -> None:
    """Of lost connections the drill knows, for it cut them; the roles' own logs are in files."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    for library in ("aiormq", "aio_pika", "aiohttp.server"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
