"""What a consumer may say of a delivery that it cannot simply finish.

A consumer returns the messages it made, or raises one of these; anything else it raises counts as a bug.
"""

from collections.abc import Mapping
from typing import Any

from consumers.messages import Message


class Later(Exception):
    """The delivery is to come again.

    `first` is published before the copy that waits, which carries the headers of `remember` besides its own: so what
    went out already is known when the copy comes back. `due_at` (epoch seconds) is the next moment at which something
    must happen to this delivery, however long the wait would be.
    """

    def __init__(
        self,
        reason: str = "asked for by its consumer",
        *,
        after: float | None = None,
        due_at: float | None = None,
        first: tuple[Message, ...] = (),
        remember: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = str(reason)
        self.after = None if after is None else float(after)
        self.due_at = due_at
        self.first = first
        self.remember = dict(remember or {})


class Retry(Later):
    """Try this delivery again, `after` seconds or when its attempt number says; it counts as an attempt."""


class Hold(Later):
    """A cause shared by all deliveries of the queue stands in the way: wait, and count no attempt."""


class Reject(Exception):
    """The delivery can never be handled: put it with the dead letters, where `reason` tells why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)


class Undecodable(Exception):
    """The body of a delivery is not what its consumer reads."""


class TooLarge(Exception):
    """A message is larger than the broker takes, even gzipped."""


class DatabaseAway(Exception):
    """A database cannot be written or read now; the text says why, and what to do. No delivery is to blame for it."""
