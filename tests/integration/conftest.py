from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.integration.ledgers import opened
from tests.integration.letters import Broker, broker_at
from tests.integration.simulated import Endpoint
from tests.integration.vapi_api import Api
from worker.clients.ledger.ledger import Ledger


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
