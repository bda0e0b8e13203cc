"""RabbitMQ in a container, where no server is installed but Docker runs."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.simulate.rabbitmq.commands import run, succeeds
from worker.simulate.rabbitmq.guard import Guard
from worker.simulate.rabbitmq.handshake import wait_for_broker
from worker.simulate.rabbitmq.home import LOCALHOST, NoBrokerError

IMAGE = "rabbitmq:4.3-management"

_REMOVE_CONTAINER = 'cat >/dev/null; docker rm --force "$1"'
_COMMAND_S = 30.0
_PULL_S = 600.0
_START_WITHIN_S = 60.0


async def is_usable() -> bool:
    """Whether the docker command is here and reaches its engine."""
    return await succeeds("docker", "info", within_s=_COMMAND_S)


async def pull() -> None:
    """Fetch the image unless it is here; raises `NoBrokerError`."""
    if await succeeds("docker", "image", "inspect", IMAGE, within_s=_COMMAND_S):
        return
    try:
        await run("docker", "pull", "--quiet", IMAGE, within_s=_PULL_S)
    except (subprocess.CalledProcessError, TimeoutError) as error:
        raise NoBrokerError(f"Docker could not fetch {IMAGE}: {_story(error)}") from error


@asynccontextmanager
async def container() -> AsyncIterator[tuple[str, str]]:
    """Run a broker in a container on free ports of 127.0.0.1: its AMQP URL and that of its management plugin.

    It is removed at the end, and if our process is killed. Raises `NoBrokerError`.
    """
    try:
        ports = ("--publish", f"{LOCALHOST}::5672", "--publish", f"{LOCALHOST}::15672")
        # The id is the last word; warnings may come before it.
        *_, container_id = (await run("docker", "run", "--detach", "--rm", *ports, IMAGE, within_s=_COMMAND_S)).split()
    except (subprocess.CalledProcessError, TimeoutError) as error:
        raise NoBrokerError(f"Docker could not start {IMAGE}: {_story(error)}") from error
    guard = Guard(_REMOVE_CONTAINER, container_id)
    try:
        yield await _addresses(container_id)
    finally:
        await guard.release()


async def _addresses(container_id: str) -> tuple[str, str]:
    amqp, management = await _port(container_id, 5672), await _port(container_id, 15672)
    url = f"amqp://guest:guest@{LOCALHOST}:{amqp}/"
    if not await wait_for_broker(url, amqp, _START_WITHIN_S, is_running=lambda: True):
        log = await run("docker", "logs", "--tail", "25", container_id, within_s=_COMMAND_S)
        raise NoBrokerError(f"RabbitMQ in Docker did not answer within {_START_WITHIN_S:g} s:\n{log}")
    return url, f"http://guest:guest@{LOCALHOST}:{management}"


async def _port(container_id: str, inside: int) -> int:
    published = await run("docker", "port", container_id, f"{inside}/tcp", within_s=_COMMAND_S)
    return int(published.split()[0].rpartition(":")[2])


def _story(error: subprocess.CalledProcessError | TimeoutError) -> str:
    return error.output.strip() if isinstance(error, subprocess.CalledProcessError) else "it took too long"
