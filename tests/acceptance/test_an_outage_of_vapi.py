import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.acceptance.conftest import KEY, Installation, Vapi, sample
from tests.processes import eventually


def ending(vapi: Vapi, *, ago_s: float = 0) -> bytes:
    """The report of a new call that ended so long ago, and that the API knows."""
    told = sample("end-of-call-report-web.json")
    call = sample("call-web.json") | {"id": str(uuid4())}
    told["message"]["call"]["id"] = call["id"]
    told["message"]["endedAt"] = (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat(timespec="milliseconds")
    vapi.calls[call["id"]] = call
    return json.dumps(told).encode()


async def post_all(installation: Installation, bodies: list[bytes], account: str = "") -> None:
    secret = "secret-of-acme" if account else "acceptance-secret"
    answers = await asyncio.gather(*(installation.post(body, account=account, secret=secret) for body in bodies))
    assert set(answers) == {200}


async def test_a_refused_key_stops_consumption_and_its_calls_wait_in_their_queue_unspent(
    installation: Installation, vapi: Vapi
) -> None:
    vapi.keys = set()
    await installation.started("webhook")
    enricher = await installation.started("consume", "enrich", AFTERCALL_PREFETCH="4")
    await post_all(installation, [ending(vapi)])
    await enricher.wait_for_line("breaker.opened")

    await post_all(installation, [ending(vapi) for _ in range(30)])
    asked = len(vapi.fetched)

    await eventually(lambda: _depth_is_at_least(installation, 29))
    assert len(vapi.fetched) == asked, "nobody asks for a call while the breaker is open"
    await enricher.wait_for_url(installation.probe("consume", "readyz"))
    vapi.keys = {KEY}
    await enricher.wait_for_line("breaker.closed")
    enriched = await installation.take("calls.postcall", 31)
    assert {message.correlation_id for message in enriched} == vapi.calls.keys()
    assert {message.headers["x-aftercall-attempt"] for message in enriched} == {1}


async def _depth_is_at_least(installation: Installation, count: int) -> bool:
    return await installation.depth("calls.enrich.default") >= count


async def test_an_accounts_outage_delays_no_other_account(installation: Installation, vapi: Vapi) -> None:
    installation.environment |= {
        "AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY": "a refused key",
        "AFTERCALL_ACCOUNTS__ACME__WEBHOOK_SECRETS": "secret-of-acme",
    }
    await installation.started("webhook")
    enricher = await installation.started("consume", "enrich")
    await post_all(installation, [ending(vapi)], "acme")
    await enricher.wait_for_line("breaker.opened")
    ours = set(vapi.calls)

    await post_all(installation, [ending(vapi) for _ in range(10)])

    enriched = await installation.take("calls.postcall", 10)
    assert {message.correlation_id for message in enriched} == vapi.calls.keys() - ours
    metrics = (await enricher.wait_for_url(installation.probe("consume", "metrics"))).decode()
    assert 'aftercall_breaker_open{account="acme"} 1.0' in metrics
    assert 'aftercall_breaker_open{account="default"} 0.0' in metrics


async def test_while_the_api_is_down_deadlines_hold_for_calls_that_wait_in_the_queue(
    installation: Installation, vapi: Vapi
) -> None:
    vapi.status = 402
    await installation.started("webhook")
    enricher = await installation.started("consume", "enrich", AFTERCALL_EMIT_AFTER_S="3")
    await post_all(installation, [ending(vapi)])
    await enricher.wait_for_line("breaker.opened")
    await post_all(installation, [ending(vapi, ago_s=60) for _ in range(5)] + [ending(vapi) for _ in range(5)])

    async with asyncio.timeout(30):
        incomplete = await installation.take("calls.postcall", 11)

    assert {message.correlation_id for message in incomplete} == vapi.calls.keys()
    assert {json.loads(message.body)["missing"][0] for message in incomplete} == {"api"}
    vapi.status = 200
    amended = await installation.take("calls.postcall", 11)
    assert {message.correlation_id for message in amended} == vapi.calls.keys()
    assert {(json.loads(message.body)["complete"], json.loads(message.body)["version"]) for message in amended} == {
        (True, 2)
    }


@pytest.mark.parametrize("status", [500, 503])
async def test_a_call_that_alone_meets_errors_is_retried_and_holds_up_no_other(
    status: int, installation: Installation, vapi: Vapi
) -> None:
    poison = ending(vapi)
    (poisoned,) = vapi.calls
    vapi.poisoned[poisoned] = status
    await installation.started("webhook")
    enricher = await installation.started("consume", "enrich", AFTERCALL_EMIT_AFTER_S="900")
    await post_all(installation, [poison])
    await enricher.wait_for_line('"outcome":"retried".*though it answers others')

    await post_all(installation, [ending(vapi) for _ in range(5)])

    enriched = await installation.take("calls.postcall", 5)
    assert {message.correlation_id for message in enriched} == vapi.calls.keys() - {poisoned}
    assert "breaker.opened" not in enricher.text()
