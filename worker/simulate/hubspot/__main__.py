"""`python -m worker.simulate.hubspot`: serve a simulated HubSpot until told to stop."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from worker.simulate.hubspot.server import SimulatedHubSpot
from worker.simulate.hubspot.trouble import Trouble, parse

_EX_USAGE, _EX_UNAVAILABLE = 64, 69


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve what the arguments ask for; the exit code."""
    asked = _parser().parse_args(arguments)
    changes = {"token": asked.token} if asked.token else {}
    try:
        trouble = Trouble().changed({**parse(asked.faults), **changes})
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return _EX_USAGE
    try:
        asyncio.run(_serve(SimulatedHubSpot(trouble, port=asked.port, seed=asked.seed)))
    except OSError as error:
        sys.stderr.write(f"nobody can listen on port {asked.port}: {error}\n")
        return _EX_UNAVAILABLE
    return 0


async def _serve(hubspot: SimulatedHubSpot) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with hubspot:
        sys.stdout.write(f"HubSpot is simulated at {hubspot.url}\n")
        sys.stdout.flush()
        await stopping.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker.simulate.hubspot",
        description="Serve a simulated HubSpot account. GET /_simulate/account tells what it holds.",
        epilog=f"The faults, and the limits: {', '.join(Trouble.__struct_fields__)}.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--token", default="", help="the token that is taken (pat-simulated)")
    parser.add_argument("--faults", default="", help="such as lost=0.1,search_lag_s=5")
    parser.add_argument("--seed", type=int, default=1, help="the same seed has the same faults")
    return parser


if __name__ == "__main__":
    sys.exit(main())
