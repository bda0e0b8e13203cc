"""What the endpoint rests upon, and how it says no."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import hdrs

from consumers.messages import Message
from worker.ingress.callers import Callers, Refusals
from worker.ingress.connections import Connections
from worker.ingress.signature import Check
from worker.ingress.spool.keeper import Accepted

BODY_S: Final = 10.0
LARGE_AT_A_TIME: Final = 8
"""Large bodies that are read before it is known whether they are signed."""
Accept = Callable[[Message], Awaitable[Accepted]]


class Endpoint(msgspec.Struct, frozen=True):
    """What the endpoint needs: a check for each account it serves, what sees messages onto a disk, and so on."""

    checks: dict[str, Check]
    accept: Accept
    max_body_bytes: int
    notes: bool
    clock: Callable[[], float] = time.time
    body_s: float = BODY_S
    callers: Callers = Callers()
    refusals: Refusals = msgspec.field(default_factory=Refusals)
    connections: Connections = msgspec.field(default_factory=Connections)
    room: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(LARGE_AT_A_TIME))


class Refused(Exception):
    """An answer that accepts nothing: the status, why, when to come again, and whether the connection ends with it."""

    def __init__(self, status: int, why: str, *, retry_after_s: int = 0, closes: bool = False) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.headers = {hdrs.RETRY_AFTER: str(retry_after_s)} if retry_after_s else {}
        self.closes = closes
