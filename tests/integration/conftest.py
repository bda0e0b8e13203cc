from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aiohttp import web
from yarl import URL

from tests.integration.ledgers import opened
from tests.integration.letters import Broker, broker_at
from tests.integration.simulated import Endpoint
from tests.integration.vapi_api import Api
from tests.integration.webhooks import Served, serving
from tests.serving import listening
from worker.broker.topology import Topology, topology_of
from worker.clients.ledger.ledger import Ledger
from worker.settings import Settings, load
from worker.simulate import rabbitmq
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy

TOML = '[subscribers.billing]\nbindings = ["call.enriched.acme.completed.#"]\n'


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.answer)
    async with listening(application) as api.url:
        yield api


@pytest.fixture
async def broker_(amqp_url: str, tmp_path: Path) -> AsyncIterator[Broker]:
    async with broker_at(amqp_url, tmp_path) as broker:
        yield broker


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel(on_return_raises=True)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    application = web.Application(client_max_size=2**25)
    application.router.add_post("/webhooks/vapi", endpoint.receive)
    async with listening(application) as url:
        endpoint.url = f"{url}/webhooks/vapi"
        yield endpoint


@pytest.fixture
def environ(broker: rabbitmq.Broker, amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An installation with two accounts and a subscriber of its own, in the process's environment too."""
    (tmp_path / "aftercall.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    environ = {
        "AFTERCALL_AMQP_URL": amqp_url,
        "AFTERCALL_AMQP_MANAGEMENT_URL": broker.management_url or "",
        "AFTERCALL_VAPI_API_KEY": "k",
        "AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY": "k",
        "AFTERCALL_RETRY_TIERS_S": "1,60",
    }
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    return environ


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    async with opened(ledger_url) as ledger:
        yield ledger


@pytest.fixture
async def node_url(node: PrivateNode) -> str:
    """A virtual host of the test's own on that node."""
    virtual_host = f"test-{uuid4().hex[:12]}"
    await node.ctl("add_vhost", virtual_host)
    await node.ctl("set_permissions", "-p", virtual_host, URL(node.url).user or "", ".*", ".*", ".*")
    return str(URL(node.url).with_path(f"/{virtual_host}"))


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[TcpProxy]:
    address = URL(amqp_url)
    async with TcpProxy(address.host or "", address.port or 5672) as proxy:
        yield proxy


@pytest.fixture
async def served(amqp_url: str) -> AsyncIterator[Served]:
    async with serving(amqp_url) as served:
        yield served


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    """Those of the installation in `environ`."""
    return load(environ)


@pytest.fixture
def topology(settings: Settings) -> Topology:
    return topology_of(settings)
