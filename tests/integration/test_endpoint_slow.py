"""Who takes the endpoint's time, memory or connections takes them from nobody else."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY

from tests.integration.public_port import REPORT, Port, public_port, request, settings, statuses
from tests.processes import PATIENCE_S, eventually
from worker.ingress.connections import Connections
from worker.ingress.signature import signer

HMAC = {"WEBHOOK_AUTH": "hmac"}
LARGE = 2 * 2**20
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def signed(body: bytes, secret: str = "s3cret", *, sent: int | None = None) -> bytes:
    account = settings(**HMAC, WEBHOOK_SECRETS=secret).account("default")
    assert account
    headers = signer(account)("POST", "/webhooks/vapi", body)
    whole = request(*(f"{name}: {value}" for name, value in headers.items()), body=body, secret="")
    return whole if sent is None else whole[: len(whole) - len(body) + sent]


def dropped() -> float:
    return REGISTRY.get_sample_value("aftercall_connections_dropped_total") or 0.0


async def answer_of(line: Line) -> list[int]:
    """The next answer's status code; nothing if the connection was closed."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return statuses(await line[0].readuntil(b"\r\n\r\n"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return []


async def heard_by(line: Line) -> list[int]:
    """The next answer's status code on a connection that goes on: its body is read too."""
    await line[0].readexactly(len(b"{}"))  # of the answer before
    return await answer_of(line)


async def trickle(line: Line, text: bytes) -> float:
    """Write a byte now and then until the other side answers or ends it; after how many seconds it did."""
    began = time.monotonic()
    heard = asyncio.create_task(line[0].read(1))
    for byte in text:
        line[1].write(bytes([byte]))
        done, _ = await asyncio.wait([heard], timeout=0.02)
        if done:
            break
    heard.cancel()
    line[1].close()
    return time.monotonic() - began


@pytest.fixture
async def small() -> AsyncIterator[Port]:
    """An endpoint with room for five connections."""
    async with public_port(connections=Connections(5)) as served:
        yield served


async def open_to(port: Port, *begun: bytes) -> list[Line]:
    """Connections, each with what was written to it, once the endpoint knows all of them."""
    lines = [await port.open(each) for each in begun]
    await eventually(lambda: port.endpoint.connections.count >= min(len(lines), 5))
    return lines


@pytest.mark.parametrize("begun", [b"", b"POST /webhooks/vapi HTTP/1.1\r\nX-A: "], ids=["silent", "amid its headers"])
async def test_whoever_does_not_come_to_the_end_of_the_headers_is_closed_however_busy(begun: bytes) -> None:
    async with public_port(idle_s=0.5) as port:
        took_s = await trickle(await port.open(), begun + b"y" * 200 if begun else b"")
        async with asyncio.timeout(30):
            assert await answer_of(await port.open()) == []
        assert took_s < 2


async def test_a_body_that_trickles_is_a_408_after_the_time_of_the_whole_body() -> None:
    async with public_port(body_s=0.4) as port:
        line = await port.open(request(body=b"x" * 1000)[:-1000])
        assert 0.3 < await trickle(line, b"x" * 500) < 3


async def test_a_slow_body_without_credentials_is_not_waited_for() -> None:
    async with public_port(body_s=600) as port:
        for begun in (request(body=b"x" * 1000, secret="")[:-1000], request(body=b"x", secret="wrong")[:-1]):
            assert await answer_of(await port.open(begun)) == [401]


@pytest.mark.parametrize("told", ["x-signature: 00", "x-timestamp: 1", "x-signature: 00\r\nx-timestamp: 1"])
async def test_nor_is_one_whose_signature_cannot_be_good_whatever_the_body_is(told: str) -> None:
    async with public_port(body_s=600, changes=HMAC) as port:
        assert await answer_of(await port.open(request(told, body=b"x" * 1000, secret="")[:-1000])) == [401]


async def test_large_bodies_not_known_to_be_signed_take_turns_and_small_ones_go_by() -> None:
    async with public_port(body_s=600, max_body_bytes=LARGE, changes=HMAC, room=asyncio.Semaphore(2)) as port:
        large = REPORT + b" " * (LARGE - len(REPORT))
        waiting = [await port.open(signed(large, "wrong", sent=100)) for _ in range(2)]
        await eventually(port.endpoint.room.locked)
        third = await port.open(signed(large))

        assert await answer_of(await port.open(signed(REPORT))) == [200]
        waiting[0][1].close()
        assert await answer_of(third) == [200]
        waiting[1][1].write(large[100:])
        assert await answer_of(waiting[1]) == [401]


async def test_large_bodies_with_good_credentials_wait_for_nobody() -> None:
    async with public_port(body_s=600, max_body_bytes=LARGE, room=asyncio.Semaphore(1)) as port:
        for _ in range(3):
            await port.open(request(body=b"x" * LARGE)[:-1])
        assert await port.talk(request(body=b"x" * LARGE), answers=1) == [200]


@pytest.mark.parametrize(
    "begun",
    [b"", b"POST /webhooks/vapi HTTP/1.1\r\n", request(secret=""), request(start="GET / HTTP/1.1", body=b"")],
    ids=["silent", "amid headers", "without credentials", "elsewhere"],
)
async def test_connections_of_no_use_go_for_one_that_is(small: Port, begun: bytes) -> None:
    before = dropped()
    lines = await open_to(small, *[begun] * 5)

    for _ in range(10):
        assert await small.talk(request(), answers=1) == [200]

    assert dropped() > before
    assert small.endpoint.connections.count <= 5
    async with asyncio.timeout(5):
        with suppress(ConnectionError):
            await lines[0][0].read()


async def test_slow_bodies_not_known_to_be_signed_go_for_one_that_is() -> None:
    async with public_port(body_s=600, changes=HMAC, connections=Connections(5)) as port:
        await open_to(port, *[signed(REPORT, "wrong", sent=1)] * 5)

        assert await port.talk(signed(REPORT), answers=1) == [200]


async def test_an_authenticated_request_is_never_closed_for_another(small: Port) -> None:
    lines = await open_to(small, *[request()[:-1]] * 5)
    await eventually(lambda: small.endpoint.connections.serving == 5)

    assert await small.talk(request(), answers=1) == []

    for _, writer in lines:
        writer.write(REPORT[-1:])
    assert [await answer_of(line) for line in lines] == [[200]] * 5
    assert await small.talk(request(), answers=1) == [200]


async def test_the_connection_of_a_load_balancer_outlives_those_of_strangers(small: Port) -> None:
    before = dropped()
    (used,) = await open_to(small, request())
    assert await answer_of(used) == [200]
    for _ in range(20):
        await open_to(small, *[b"POST"] * 4)
        used[1].write(request())
        assert await heard_by(used) == [200]

    assert dropped() >= before + 60


async def test_whoever_does_not_read_the_answers_is_closed_for_others(small: Port) -> None:
    deaf = [await small.open() for _ in range(5)]
    for _, writer in deaf:
        writer.write(request() * 50_000)
    await eventually(lambda: small.accepted)

    assert await small.talk(request(), answers=1) == [200]


async def test_closed_connections_are_forgotten(small: Port) -> None:
    before = dropped()
    for _ in range(50):
        assert await small.talk(request("Connection: close")) == [200]

    await eventually(lambda: not small.endpoint.connections.count)
    assert dropped() == before
