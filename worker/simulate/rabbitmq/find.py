"""Which RabbitMQ the demo and the tests use on this machine, and how it gets there."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import aio_pika
from yarl import URL

from worker.simulate.rabbitmq import debian, docker
from worker.simulate.rabbitmq.handshake import handshake
from worker.simulate.rabbitmq.home import NoBrokerError, find_server
from worker.simulate.rabbitmq.node import PrivateNode

_MANAGEMENT_PORT = 15672
_CHOICES = (
    "RabbitMQ is needed, and none is here: install the package rabbitmq-server, or start Docker,"
    " or set AFTERCALL_AMQP_URL to a broker of your own."
)


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answered an AMQP handshake, and where it comes from."""

    url: str
    management_url: str | None  # with user and password; for AFTERCALL_AMQP_URL a guess: the same host, port 15672
    origin: str
    node: PrivateNode | None = None  # where it is ours to kill


@asynccontextmanager
async def find_broker(
    environ: Mapping[str, str], *, management: bool = False, tell: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Broker]:
    """Offer a broker: `AFTERCALL_AMQP_URL`, else a private node, else Docker, else the system's package, installed now.

    `tell` hears what takes long. What was started here ends with the context. Raises `NoBrokerError`, in one sentence
    that names the choices.
    """
    async with await choose_broker(environ, management=management, tell=tell) as broker:
        yield broker


async def choose_broker(
    environ: Mapping[str, str], *, management: bool = False, tell: Callable[[str], None] = lambda _: None
) -> AbstractAsyncContextManager[Broker]:
    """Choose as `find_broker` does, download or install what is missing, and start nothing yet."""
    if url := environ.get("AFTERCALL_AMQP_URL"):
        return _given(url.partition(",")[0].strip())
    if find_server():
        return _private(management=management)
    if await docker.is_usable():
        tell(f"Fetching the image {docker.IMAGE} …")
        await docker.pull()
        return _container()
    if debian.can_install():
        tell("Installing the package rabbitmq-server, without starting it as a service …")
        await debian.install_server()
        return _private(management=management)
    raise NoBrokerError(_CHOICES)


@asynccontextmanager
async def _given(url: str) -> AsyncIterator[Broker]:
    address = URL(url)
    try:
        await handshake(url)
    except (OSError, aio_pika.exceptions.AMQPError) as error:
        raise NoBrokerError(
            f"The broker of AFTERCALL_AMQP_URL does not answer at {address.host}:{address.port or 5672}"
            f" ({type(error).__name__}: {error}): start it, or unset the variable to get a private one."
        ) from error
    management = address.with_scheme("http").with_port(_MANAGEMENT_PORT).with_path("")
    yield Broker(url, str(management), "AFTERCALL_AMQP_URL")


@asynccontextmanager
async def _private(*, management: bool) -> AsyncIterator[Broker]:
    async with PrivateNode(management=management) as node:
        yield Broker(node.url, node.management_url, "a private node", node)


@asynccontextmanager
async def _container() -> AsyncIterator[Broker]:
    async with docker.container() as (url, management_url):
        yield Broker(url, management_url, f"Docker, {docker.IMAGE}")
