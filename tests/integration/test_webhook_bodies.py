"""Bodies too large, in chunks, too slow, compressed or broken off: what is answered, and what is in the queue."""

import asyncio
import gzip

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.integration.webhooks import BEARER, LARGEST, PARKED, Served, head, report, serving
from tests.processes import eventually


@pytest.mark.parametrize("path", ["calls.enrich.default", PARKED])
async def test_a_large_body_travels_gzipped_and_is_the_same_unpacked(served: Served, path: str) -> None:
    body = report(transcript="é" * 300_000) if path != PARKED else b"x" * 1_200_000
    assert (await served.post(body))[0] == 200
    kept = await served.take(path)

    assert kept.content_encoding == "gzip"
    assert len(kept.body) < 100_000
    assert gzip.decompress(kept.body) == body


async def test_a_body_of_exactly_the_limit_is_taken_and_one_more_byte_is_a_413(served: Served) -> None:
    padding = LARGEST - len(report(x=""))
    assert (await served.post(report(x="a" * padding)))[0] == 200
    assert (await served.post(report(x="a" * (padding + 1))))[0] == 413


async def test_a_body_that_says_it_is_too_large_is_a_413_before_it_is_sent(served: Served) -> None:
    answer = await served.send(head(LARGEST + 1))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


async def test_a_body_in_chunks_is_taken_up_to_the_limit_and_is_a_413_beyond(served: Served) -> None:
    small = report()
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(small), small)
    answer = await served.send(head(None, "Transfer-Encoding: chunked", "Connection: close") + chunks)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (await served.take("calls.enrich.default")).body == small

    for size, status in ((LARGEST, b"200"), (LARGEST + 1, b"413"), (10 * LARGEST, b"413")):
        answer = await served.send(
            head(None, "Transfer-Encoding: chunked"), b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
        )
        assert answer.split()[1] == status


async def test_a_body_that_comes_too_slowly_is_a_408(amqp_url: str) -> None:
    async with serving(amqp_url, body_s=0.2) as served:
        answer = await served.send(head(1000) + b'{"message"')
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert (await served.post(report()))[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_body_with_a_content_encoding_is_a_415_and_not_unpacked(served: Served, encoding: str) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    assert (await served.post(bomb, headers=BEARER | {"Content-Encoding": encoding}))[0] == 415


@pytest.mark.parametrize(
    "broken",
    [
        head(None, "Transfer-Encoding: chunked") + b"zz\r\n",
        head(None, "Content-Length: many") + b"{}",
        b"nonsense\r\n\r\n",
        head(None, *(f"X-{number}: {'x' * 4000}" for number in range(200))),
    ],
)
async def test_what_is_no_http_is_a_400_and_publishes_nothing(served: Served, broken: bytes) -> None:
    answer = await served.send(broken)
    assert answer.split()[1] in {b"400", b"431"}
    assert await served.count("calls.enrich.default") == 0
    assert (await served.post(report()))[0] == 200


async def test_a_client_that_leaves_amid_its_body_leaves_nothing_behind(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(head(len(report())) + report()[:-1])
    await writer.drain()
    writer.transport.abort()

    assert (await served.post(report()))[0] == 200
    assert await served.count("calls.enrich.default") == 1
    assert await served.count(PARKED) == 0


async def test_a_client_that_breaks_off_amid_its_body_is_counted_and_logged_though_nobody_hears_the_answer(
    served: Served,
) -> None:
    def broken_off() -> float:
        labels = {"account": "default", "type": "none", "answer": "499"}
        return REGISTRY.get_sample_value("aftercall_webhooks_total", labels) or 0.0

    before = broken_off()
    with capture_logs() as logs:
        for begun in (head(1000) + b'{"mess', head(None, "Transfer-Encoding: chunked") + b"5\r\nabc"):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(begun)
            writer.close()
        await eventually(lambda: broken_off() == before + 2)

    assert [(line["event"], line["answer"]) for line in logs] == [("webhook.refused", 499)] * 2


async def test_a_client_that_leaves_before_the_answer_has_its_report_published(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(head(len(report())) + report())
    await writer.drain()
    writer.transport.abort()

    assert (await served.take("calls.enrich.default")).body == report()
