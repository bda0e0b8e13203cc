"""The endpoint as a process of its own, among strangers: RabbitMQ is away, and the spool takes what is good."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from tests.acceptance.conftest import SECRET, fresh_report
from tests.processes import AFTERCALL, RunningProcess
from worker.simulate.rabbitmq import free_ports

BEARER = {"Authorization": f"Bearer {SECRET}"}
Start = Callable[..., RunningProcess]


async def started(start_process: Start, **changes: str) -> tuple[RunningProcess, str, str]:
    """An endpoint, its URL and that of its metrics."""
    port, admin = free_ports(2)
    environment = {
        "AFTERCALL_AMQP_URL": "amqp://127.0.0.1:1/",
        "AFTERCALL_WEBHOOK_SECRETS": SECRET,
        "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
        "AFTERCALL_WEBHOOK_PORT": str(port),
        "AFTERCALL_ADMIN_PORT": str(admin),
        **{f"AFTERCALL_{key}": value for key, value in changes.items()},
    }
    process = start_process(AFTERCALL, "webhook", environment=environment)
    await process.wait_for_url(f"http://127.0.0.1:{admin}/readyz")
    return process, f"http://127.0.0.1:{port}/webhooks/vapi", f"http://127.0.0.1:{admin}/metrics"


async def post(url: str, headers: dict[str, str]) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=fresh_report("web"), headers=headers) as answer,
    ):
        return answer.status


async def test_connections_that_say_nothing_leave_room_for_vapi(start_process: Start) -> None:
    process, url, metrics = await started(start_process, WEBHOOK_MAX_CONNECTIONS="20")
    port = int(url.split(":")[2].split("/")[0])
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]

    assert [await post(url, BEARER) for _ in range(5)] == [200] * 5

    told = (await process.wait_for_url(metrics)).decode()
    assert "\naftercall_connections_dropped_total 4" in told
    assert "\naftercall_webhook_connections 2" in told or "\naftercall_webhook_connections 1" in told
    for _, writer in silent:
        writer.close()


async def test_strangers_are_told_apart_and_logged_once_too_often(start_process: Start) -> None:
    process, url, _ = await started(
        start_process,
        WEBHOOK_ALLOW="167.150.224.0/23",
        WEBHOOK_TRUSTED_PROXIES="127.0.0.1",
        WEBHOOK_REFUSALS_PER_MINUTE="3",
    )
    vapi, stranger = {"X-Forwarded-For": "167.150.225.7"}, {"X-Forwarded-For": "203.0.113.7"}

    # The minute may turn amid them.
    assert {await post(url, BEARER | stranger) for _ in range(9)} == {403, 429}
    assert await post(url, vapi) in {401, 429}
    assert await post(url, BEARER | vapi) == 200

    await process.wait_for_line('"answer":429.*"caller":"203.0.113.7"')
    assert process.text().count('"caller":"203.0.113.7"') < 9


@pytest.mark.parametrize("key", ["WEBHOOK_ALLOW", "WEBHOOK_TRUSTED_PROXIES"])
async def test_an_address_that_is_none_is_told_with_what_one_reads_like(start_process: Start, key: str) -> None:
    environment = {f"AFTERCALL_{key}": "10.0.0.0/8,vapi.ai,10.0.0.1/64", "AFTERCALL_WEBHOOK_SECRETS": SECRET}
    process = start_process(AFTERCALL, "webhook", environment=environment)

    assert await process.wait() == 64
    told = f"AFTERCALL_{key}: vapi.ai, 10.0.0.1/64: an address reads 192.0.2.1, or 192.0.2.0/24 for many"
    assert told in process.text()
