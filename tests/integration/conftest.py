from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web
from yarl import URL

from tests.integration.ledgers import opened
from tests.integration.letters import Broker, broker_at
from tests.integration.simulated import Endpoint
from tests.integration.vapi_api import Api
from worker.clients.ledger.ledger import Ledger
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield api
    await runner.cleanup()


@pytest.fixture
async def broker_(amqp_url: str, tmp_path: Path) -> AsyncIterator[Broker]:
    async with broker_at(amqp_url, tmp_path) as broker:
        yield broker


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    application = web.Application(client_max_size=2**25)
    application.router.add_post("/webhooks/vapi", endpoint.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/vapi"
    yield endpoint
    await runner.cleanup()


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
