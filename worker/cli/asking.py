"""Asking at the terminal whether somebody is sure."""

import signal
import sys

from worker.cli.exit_codes import WrongArguments


def require_somebody_to_ask(shown: str) -> None:
    """Raise `WrongArguments` if there is no terminal to ask at; `shown` is what a dry run would show instead."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise WrongArguments(f"there is no terminal to ask at: --yes says that you are sure, --dry-run shows {shown}")


def says_yes(question: str) -> bool:
    """Ask, and wait for the answer."""
    # asyncio has Ctrl-C for itself, and would hear it only after the answer.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, heard)
