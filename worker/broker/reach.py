"""A connection for a command that asks the broker something: to the first address that answers, and no other later."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from worker.broker.dial import dial, where
from worker.broker.session import explain, told_as_closed
from worker.settings import Secret

CONNECT_S: Final = 8.0
"""For all addresses together."""
CLOSE_S: Final = 5.0


class BrokerAway(Exception):
    """The broker could not be reached, or went away while we asked it something."""


@asynccontextmanager
async def reached(urls: Secret) -> AsyncIterator[AbstractConnection]:
    """A connection to the first broker that answers. Raises `BrokerAway`, also when it goes away meanwhile."""
    connection = await _connect(urls.each())
    try:
        with told_as_away():
            yield connection
    finally:
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_S):
                await connection.close()


@contextmanager
def told_as_away() -> Iterator[None]:
    """Whatever says that the connection has ended is `BrokerAway`."""
    try:
        with told_as_closed():
            yield
    except BrokenPipeError:  # of our own output
        raise
    except (AMQPError, ChannelInvalidStateError, ConnectionError, TimeoutError) as error:
        raise BrokerAway(explain(error)) from error


async def _connect(urls: Sequence[str]) -> AbstractConnection:
    troubles = []
    for url in urls:
        try:
            async with asyncio.timeout(CONNECT_S / len(urls)):
                return await dial(url, "command")
        except (AMQPError, OSError) as error:
            troubles.append(f"{where(url)}: {explain(error)}")
    raise BrokerAway("; ".join(troubles))
