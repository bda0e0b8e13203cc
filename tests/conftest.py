import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from tests.postgresql import PrivatePostgresql, prepare
from tests.processes import RunningProcess
from worker.simulate.rabbitmq import Broker, NoBrokerError, PrivateNode, find_broker, free_ports
from worker.simulate.target import Target, served


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker() -> AsyncIterator[Broker]:
    """One broker for the whole session, started for the first test that asks; without one that test is an error."""
    async with find_broker(os.environ, management=True) as found:
        yield found


@pytest.fixture
async def amqp_url(broker: Broker) -> AsyncIterator[str]:
    """A virtual host of the test's own: with the management plugin's API 10 ms to make, where rabbitmqctl takes 400."""
    virtual_host = f"/test-{uuid4().hex[:12]}"
    async with _management_of(broker) as management:
        await management.put(f"/api/vhosts{virtual_host}")  # whoever makes a virtual host may do everything in it
        yield str(URL(broker.url).with_path(virtual_host))
        await management.delete(f"/api/vhosts{virtual_host}")


@asynccontextmanager
async def _management_of(broker: Broker) -> AsyncIterator[aiohttp.ClientSession]:
    address = URL(broker.management_url or "")
    login = {"Authorization": aiohttp.encode_basic_auth(address.user or "", address.password or "")}
    async with aiohttp.ClientSession(address.with_user(None), headers=login, raise_for_status=True) as management:
        try:
            await management.get("/api/whoami")
        except aiohttp.ClientError as error:
            raise NoBrokerError(
                "Every test has a virtual host of its own, made by the management plugin, which does not answer at"
                f" {address.host}:{address.port}: enable rabbitmq_management there for {address.user}, or unset"
                f" AFTERCALL_AMQP_URL ({error})."
            ) from error
        yield management


@pytest.fixture
async def own_node() -> AsyncIterator[PrivateNode]:
    """A node to kill, pause and restart; 3 to 10 s to start, so only for tests that do."""
    async with PrivateNode() as node:
        yield node


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgresql() -> AsyncIterator[PrivatePostgresql]:
    """One PostgreSQL server for the whole session, started for the first test that asks."""
    await prepare()
    async with PrivatePostgresql() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: PrivatePostgresql) -> Iterator[str]:
    """A database of the test's own."""
    with postgresql.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a ledger: the test runs on both databases."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_url"))
    return f"sqlite:///{tmp_path}/ledger/ledger.db"


@pytest.fixture
def archive_url(ledger_url: str) -> str:
    """A place for an archive: the test runs on both databases."""
    return ledger_url.replace("ledger", "archive")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one_node() -> AsyncIterator[PrivateNode]:
    """A node for all tests of a module: 3 to 10 s to start."""
    async with PrivateNode() as started:
        yield started


@pytest.fixture
async def node(one_node: PrivateNode) -> AsyncIterator[PrivateNode]:
    """The module's own node to do harm to; it runs again afterwards."""
    yield one_node
    try:
        one_node.resume()
    except RuntimeError:
        await one_node.restart()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB to be filled up; the spool keeps 64 of it free."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens; for several at once `free_ports(count)` of the same place."""
    return free_ports(1)[0]


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., RunningProcess]]:
    """Start real processes: `start_process(AFTERCALL, "webhook", environment={…})`; they end with the test."""
    with ExitStack() as started:

        def start(*command: str, environment: dict[str, str] | None = None) -> RunningProcess:
            output = tmp_path / f"output-{uuid4().hex[:8]}.log"
            process = RunningProcess(*command, output=output, environment=environment)
            started.callback(process.close)
            return process

        yield start


@pytest.fixture
def target() -> Target:
    """A target that keeps what it is sent; see `apprise_url`."""
    return Target()


@pytest.fixture
async def apprise_url(target: Target) -> AsyncIterator[str]:
    """Where Apprise finds that target."""
    async with served(target) as url:
        yield url.replace("http://", "json://")
