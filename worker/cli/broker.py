"""What commands that ask the broker share."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.broker.reach import BrokerAway
from worker.cli.exit_codes import Unreachable


@contextmanager
def needing_broker() -> Iterator[None]:
    """End the command with a sentence, by `Unreachable`, if the broker is away or goes away."""
    try:
        yield
    except BrokerAway as error:
        raise Unreachable(f"The broker cannot be used: {error}") from error
