"""The open port: at most so many connections, and for a new one the one goes that has been of no use for longest.

aiohttp closes a connection that is idle, or amid the headers of a request, after `IDLE_S`. It bounds neither their
number nor the time in which an answer is read. One whose request is authenticated is never closed for another.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any, Final, cast

from aiohttp import web

from worker.operate.telemetry import CONNECTIONS_DROPPED

IDLE_S: Final = 75.0
"""Longer than a load balancer keeps idle connections (AWS: 60 s): it is the one to close."""
BACKLOG: Final = 128


class Connections:
    """The connections of a port: those with an authenticated request, and the others, the longest unused first."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._unused: dict[Any, None] = {}
        self._serving: set[Any] = set()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._unused) + len(self._serving)

    @property
    def serving(self) -> int:
        """Those with a request that is authenticated and not yet answered."""
        return len(self._serving)

    def open(self, transport: asyncio.Transport) -> None:
        """Take a connection in; if there is room for none, the longest unused goes, or else this one."""
        self._unused[transport] = None
        if self.count > self._most:
            self._drop(next(iter(self._unused)))

    def close(self, transport: asyncio.Transport) -> None:
        """Forget a connection that is closed."""
        self._unused.pop(transport, None)
        self._serving.discard(transport)

    def serve(self, transport: asyncio.Transport | None) -> None:
        """Keep a connection: what it sent is authenticated."""
        if transport in self._unused:
            del self._unused[transport]
            self._serving.add(transport)

    def rest(self, transport: asyncio.Transport | None) -> None:
        """Its request is answered: of those unused it is the latest now."""
        if transport in self._serving:
            self._serving.remove(transport)
            self._unused[transport] = None

    def _drop(self, transport: asyncio.Transport) -> None:
        CONNECTIONS_DROPPED.inc()
        self.close(transport)
        transport.abort()


class _Guest:
    """A protocol of asyncio that tells of a connection's beginning and end, and leaves all else to aiohttp's."""

    def __init__(self, host: asyncio.Protocol, connections: Connections) -> None:
        self._host = host
        self._connections = connections
        # Handed through as they are, so that no byte takes a detour.
        self.data_received = host.data_received
        self.eof_received = host.eof_received
        self.pause_writing = host.pause_writing
        self.resume_writing = host.resume_writing

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._host.connection_made(transport)
        self._transport = transport
        self._connections.open(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.close(self._transport)
        self._host.connection_lost(error)


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, grace_s: float, connections: Connections, idle_s: float = IDLE_S
) -> AsyncIterator[tuple[str, int]]:
    """Serve an application, and tell where; at the end requests have `grace_s` seconds. Raises `OSError`."""
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=grace_s, keepalive_timeout=idle_s, auto_decompress=False
    )
    await runner.setup()
    try:
        serve = cast("web.Server", runner.server)
        loop = asyncio.get_running_loop()
        guest: Any = lambda: _Guest(serve(), connections)  # noqa: E731
        with closing(await loop.create_server(guest, host, port, backlog=BACKLOG)) as server:
            yield server.sockets[0].getsockname()[:2]
    finally:
        await runner.cleanup()
