import asyncio
import json
import time
from collections.abc import Callable
from uuid import uuid4

from tests.acceptance.conftest import KEY, Installation, Vapi, sample
from tests.processes import RunningProcess, eventually
from worker.simulate.faults import Faults
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.vapi import SimulatedVapi, SimulatorSettings

SECRET_HEADERS = {"Authorization": "Bearer acceptance-secret"}


def sign(_method: str, _url: str, _body: bytes) -> dict[str, str]:
    return SECRET_HEADERS


def many(vapi: Vapi, count: int) -> list[bytes]:
    """As many reports of calls that the API knows."""
    bodies = []
    for _ in range(count):
        call = sample("call-web.json") | {"id": str(uuid4())}
        told = sample("end-of-call-report-web.json")
        told["message"]["call"]["id"] = call["id"]
        vapi.calls[call["id"]] = call
        bodies.append(json.dumps(told).encode())
    return bodies


async def ids_in(installation: Installation, queue: str, count: int) -> set[str]:
    """The distinct calls in a queue, once there are as many as asked for."""
    found: set[str] = set()

    async def enough() -> bool:
        found.update(str(message.correlation_id) for message in await installation.take(queue, 0))
        return len(found) >= count

    await eventually(enough)
    return found


async def test_an_enricher_stopped_under_load_finishes_what_it_has_and_leaves_the_rest_to_the_next(
    installation: Installation, vapi: Vapi
) -> None:
    await installation.started("webhook")
    first = await installation.started("consume", "enrich", AFTERCALL_VAPI_RATE="60")
    await asyncio.gather(*(installation.post(body) for body in many(vapi, 150)))
    await eventually(lambda: len(vapi.fetched) > 20)

    assert await first.terminate() == 0

    assert "unsettled" not in first.text()
    await installation.started("consume", "enrich")
    assert await ids_in(installation, "calls.postcall", 150) == vapi.calls.keys()
    attempts = [message.headers["x-aftercall-attempt"] for message in await installation.take("calls.crm", 150)]
    assert set(attempts) == {1}, "a shutdown spends no attempt"


async def test_an_enricher_killed_under_load_loses_nothing(installation: Installation, vapi: Vapi) -> None:
    await installation.started("webhook")
    first = await installation.started("consume", "enrich", AFTERCALL_VAPI_RATE="60")
    await asyncio.gather(*(installation.post(body) for body in many(vapi, 100)))
    await eventually(lambda: len(vapi.fetched) > 20)

    await first.kill()
    await installation.started("consume", "enrich")

    assert await ids_in(installation, "calls.postcall", 100) == vapi.calls.keys()


async def test_an_endpoint_stopped_under_load_answers_every_request_it_took(
    installation: Installation, vapi: Vapi
) -> None:
    endpoint = await installation.started("webhook")
    bodies = many(vapi, 60)
    answers = asyncio.gather(*(installation.post(body) for body in bodies), return_exceptions=True)
    await eventually(lambda: "webhook.accepted" in endpoint.text())

    assert await endpoint.terminate() == 0

    accepted = [status for status in await answers if status == 200]
    assert accepted
    assert all(isinstance(status, BaseException) or status == 200 for status in await answers)
    assert await installation.depth("calls.enrich.default") >= len(accepted)


async def test_a_broker_killed_and_started_again_brings_back_all_that_was_answered_with_200(
    own_node: PrivateNode, vapi: Vapi, start_process: Callable[..., RunningProcess]
) -> None:
    installation = Installation(own_node.url, vapi.url, start_process)
    await installation.started("webhook")
    # RabbitMQ 3.10 forgets a quorum queue declared less than half a second before it is killed.
    declared_at = time.monotonic()
    await eventually(lambda: time.monotonic() > declared_at + 2.5)
    bodies = many(vapi, 40)
    assert set(await asyncio.gather(*(installation.post(body) for body in bodies))) == {200}

    await own_node.kill()
    more = many(vapi, 20)
    assert set(await asyncio.gather(*(installation.post(body) for body in more))) == {200}
    await own_node.restart()
    await installation.started("consume", "enrich")

    assert await ids_in(installation, "calls.postcall", 60) >= vapi.calls.keys()


async def test_a_hundred_calls_of_every_kind_with_every_fault_come_out_to_the_last_one(
    installation: Installation,
) -> None:
    await installation.started("webhook")
    settings = SimulatorSettings(
        api_key=KEY,
        webhook_url=installation.endpoint,
        signer=sign,
        rate=50,
        count=100,
        faults=Faults.parse("everything=0.08,dropped=0"),
        time_scale=0.2,
    )
    async with SimulatedVapi(settings) as simulated:
        await installation.started(
            "consume", "enrich", AFTERCALL_VAPI_BASE_URL=simulated.url, AFTERCALL_EMIT_AFTER_S="8"
        )
        await simulated.finish()
        ended = set(simulated.account.calls)

        assert await ids_in(installation, "calls.postcall", 100) == ended

    assert await installation.depth("calls.unrouted") == 0
    assert await installation.depth("calls.enrich.default.dead") == 0
