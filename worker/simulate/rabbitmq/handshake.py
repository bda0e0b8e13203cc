"""Whether a broker is there: an open port proves little, an AMQP handshake is proof."""

import asyncio
import time
from collections.abc import Callable

import aio_pika

from worker.simulate.rabbitmq.home import LOCALHOST

_POLL_S = 0.1
_HANDSHAKE_S = 5.0


async def handshake(url: str, within_s: float = _HANDSHAKE_S) -> None:
    """Open and close one AMQP connection.

    Raises `OSError` if nobody answers there or not in time (`ConnectionError`, `TimeoutError`), and
    `aio_pika.exceptions.AMQPError` if a broker answers and refuses.
    """
    async with asyncio.timeout(within_s):
        connection = await aio_pika.connect(url, timeout=within_s)
        await connection.close()


async def wait_for_broker(url: str, port: int, within_s: float, *, is_running: Callable[[], bool]) -> bool:
    """Wait until a broker that starts on 127.0.0.1 accepts a handshake; False when it has ended or time is up."""
    deadline = time.monotonic() + within_s
    while is_running() and time.monotonic() < deadline:
        if await _answers(url, port):
            return True
        await asyncio.sleep(_POLL_S)
    return False


async def _answers(url: str, port: int) -> bool:
    try:
        # First the bare port: the AMQP library logs a warning for every refused connection.
        _, writer = await asyncio.open_connection(LOCALHOST, port)
        writer.close()
        await writer.wait_closed()
        await handshake(url)
    except (OSError, aio_pika.exceptions.AMQPError):
        return False
    return True
