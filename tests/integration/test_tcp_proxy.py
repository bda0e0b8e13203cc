import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest

from tests.processes import eventually
from worker.simulate.tcp_proxy import TcpProxy


@pytest.fixture
async def received() -> bytearray:
    """What the server has read."""
    return bytearray()


@pytest.fixture
async def proxy(received: bytearray) -> AsyncIterator[TcpProxy]:
    """A proxy before a server that sends back what it reads."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**14):
                received.extend(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as wire:
        yield wire


@asynccontextmanager
async def client(proxy: TcpProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def silent(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), 0.2)
    except TimeoutError:
        return True
    return False


async def test_it_carries_both_ways_and_ends_when_an_end_does(proxy: TcpProxy) -> None:
    async with client(proxy) as (reader, writer):
        writer.write(b"x" * 100_000)
        assert await reader.readexactly(100_000) == b"x" * 100_000
        writer.write_eof()
        assert await reader.read() == b""
    await eventually(lambda: not proxy.connections)
    assert proxy.carried == {"up": 100_000, "down": 100_000}


async def test_a_cut_is_a_reset_and_the_next_connection_works(proxy: TcpProxy) -> None:
    async with client(proxy) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
    async with client(proxy) as (reader, writer):
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"


async def test_a_stalled_direction_is_silent_and_delivers_later(proxy: TcpProxy, received: bytearray) -> None:
    async with client(proxy) as (reader, writer):
        proxy.stall("down")
        writer.write(b"a")
        assert await silent(reader)
        assert received == b"a"
        proxy.resume()
        assert await reader.readexactly(1) == b"a"
        proxy.stall("up")
        writer.write(b"b")
        assert await silent(reader)
        assert received == b"a"


async def test_half_open_leaves_the_client_in_the_belief_that_it_is_connected(proxy: TcpProxy) -> None:
    async with client(proxy) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.half_open()
        writer.write(b"b")
        assert await silent(reader)
        assert proxy.connections == 1


async def test_cut_after_delivers_exactly_so_much(proxy: TcpProxy, received: bytearray) -> None:
    proxy.cut_after(3, "up")
    async with client(proxy) as (reader, writer):
        writer.write(b"abcdef")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(6)
    await eventually(lambda: received == b"abc")


async def test_a_delay_is_a_delay(proxy: TcpProxy) -> None:
    proxy.delay_s = 0.1
    loop = asyncio.get_running_loop()
    async with client(proxy) as (reader, writer):
        started_at = loop.time()
        writer.write(b"a")
        await reader.readexactly(1)
        assert loop.time() - started_at > 0.15


async def test_it_refuses_and_accepts_on_the_same_port(proxy: TcpProxy) -> None:
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.accept()
    async with client(proxy) as (reader, writer):
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"


async def test_amqp_goes_through_and_notices_a_cut(amqp_url: str) -> None:
    host, port = "127.0.0.1", int(amqp_url.rpartition(":")[2].partition("/")[0])
    async with TcpProxy(host, port) as proxy:
        connection = await aio_pika.connect(proxy.through(amqp_url))
        channel = await connection.channel()
        proxy.cut()
        await asyncio.wait_for(channel.closed(), 30)
        assert channel.is_closed
        await connection.close()
