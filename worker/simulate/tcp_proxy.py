"""A wire to break on purpose, between a client and a broker or an HTTP server."""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Final, Literal, Self, cast

from yarl import URL

Direction = Literal["up", "down"]  # up: from the client to the server
BOTH: Final[tuple[Direction, Direction]] = ("up", "down")
_RESET_ON_CLOSE: Final = struct.pack(
    "ii", 1, 0
)  # SO_LINGER with no time: close sends RST, and what was not sent is dropped


class TcpProxy:
    """Used as `async with TcpProxy(host, port) as proxy`; clients then connect to `proxy.port`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._flows: dict[Direction, asyncio.Event] = {direction: asyncio.Event() for direction in BOTH}
        self._bytes_left: dict[Direction, int | None] = dict.fromkeys(BOTH)
        self.port = 0
        self.delay_s = 0.0  # of each piece of data, in both directions
        self.carried: dict[Direction, int] = dict.fromkeys(BOTH, 0)  # bytes, since the start
        self.resume()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        tasks = list(self._links)
        self.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._links)

    def through(self, url: str) -> str:
        """Return `url` with this proxy in the place of its host."""
        return str(URL(url).with_host("127.0.0.1").with_port(self.port))

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        self._listener = await asyncio.start_server(self._link, "127.0.0.1", self.port, limit=2**14)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse new connections, and leave those that are there."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        for writers in self._links.values():
            _reset(*writers)

    def half_open(self) -> None:
        """Reset every connection on the server's side; the client is not told, and nobody answers it."""
        self.stall()
        for _, server in self._links.values():
            _reset(server)

    def cut_after(self, size: int, direction: Direction = "up") -> None:
        """Let `size` more bytes through in one direction, then end: the receiver has them all, the sender is reset."""
        self._bytes_left[direction] = size

    def stall(self, *directions: Direction) -> None:
        """Stop reading, in both directions if none is named: a black hole without any sign of it."""
        for direction in directions or BOTH:
            self._flows[direction].clear()

    def resume(self) -> None:
        """Let everything flow again; what waited is delivered."""
        for flow in self._flows.values():
            flow.set()

    async def _link(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._links[task] = (client,)
        try:
            server_reader, server = await asyncio.open_connection(*self._target, limit=2**14)
            self._links[task] = (client, server)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump("up", reader, client, server))
                pumps.create_task(self._pump("down", server_reader, server, client))
        except* OSError:
            _reset(*self._links[task])
        finally:
            for writer in self._links.pop(task):
                writer.close()

    async def _pump(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        source: asyncio.StreamWriter,
        sink: asyncio.StreamWriter,
    ) -> None:
        while data := await self._next(direction, reader):
            allowed = data[: self._bytes_left[direction]]
            sink.write(allowed)
            await sink.drain()
            self.carried[direction] += len(allowed)
            if self._spend(direction, len(allowed)):
                sink.close()
                _reset(source)
                return
        sink.write_eof()

    async def _next(self, direction: Direction, reader: asyncio.StreamReader) -> bytes:
        await self._flows[direction].wait()
        data = await reader.read(2**14)
        await _let_pass(self.delay_s)
        await self._flows[direction].wait()
        return data

    def _spend(self, direction: Direction, size: int) -> bool:
        left = self._bytes_left[direction]
        self._bytes_left[direction] = None if left is None or left <= size else left - size
        return left is not None and left <= size


async def _let_pass(seconds: float) -> None:
    if seconds:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), seconds)


def _reset(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        connection = writer.get_extra_info("socket")
        with suppress(OSError):  # closed already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
