"""HTTPS clients and certificates: what is said when one is not good, and that files are followed."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from consumers.enrich import ApiUnavailable
from consumers.outcomes import Retry
from tests.certificates import Authority, Certificate
from tests.integration import targets, vapi_api
from tests.secured import served_securely
from worker.clients.hubspot.wire import PATIENCE, Passing, Wire
from worker.settings import load


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def us(authority: Authority) -> Certificate:
    return authority.sign("us")


@pytest.fixture
async def url(authority: Authority) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"id": vapi_api.CALL_ID})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with served_securely(app, authority, authority.sign("server")) as served:
        yield served


async def test_a_target_of_an_unknown_ca_is_told_in_words(url: str) -> None:
    async with targets.client(f"{url}/hook/s3cret") as target:
        with pytest.raises(Retry, match="its certificate is of a CA that is not trusted here") as caught:
            await target.post(targets.ID, targets.BODY)
    assert "s3cret" not in str(caught.value)


async def test_a_file_that_cannot_be_read_is_a_trouble_of_the_api(url: str) -> None:
    async with vapi_api.client(f"{url}?cafile=/nowhere/ca.pem") as vapi:
        with pytest.raises(ApiUnavailable, match=r"/nowhere/ca.pem cannot be read: No such file or directory"):
            await vapi.fetch_call(vapi_api.CALL_ID)


async def test_hubspot_behind_a_proxy_of_an_own_ca_is_reached(url: str, authority: Authority, us: Certificate) -> None:
    account = load({"AFTERCALL_CRM_TOKEN": "t"}).accounts[0]
    async with aiohttp.ClientSession() as http:
        with pytest.raises(Passing, match="its certificate is of a CA that is not trusted here"):
            await Wire(account, http, url, PATIENCE).send("GET", "/crm/objects", None)
        with pytest.raises(Passing, match=r"/nowhere/ca.pem cannot be read: No such file or directory"):
            await Wire(account, http, f"{url}?cafile=/nowhere/ca.pem", PATIENCE).send("GET", "/crm/objects", None)

        answer = await Wire(account, http, f"{url}/?cafile={authority.cert}&{us.query}", PATIENCE).send(
            "GET", "/crm/objects", None
        )

    assert answer.status == 200


async def test_a_ca_that_replaces_another_is_trusted_with_the_next_request(
    url: str, authority: Authority, us: Certificate, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.pem"
    shutil.copy(Authority(tmp_path, "stranger").cert, trusted)
    async with vapi_api.client(f"{url}?cafile={trusted}&{us.query}") as vapi:
        with pytest.raises(ApiUnavailable, match="its certificate is of a CA that is not trusted here"):
            await vapi.probe()
        shutil.copy(authority.cert, trusted)

        await vapi.probe()
