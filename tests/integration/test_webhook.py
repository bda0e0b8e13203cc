"""The endpoint over real HTTP with a real broker: every row of the table of answers, and what is in the queue then."""

import asyncio
import gzip
import io
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiohttp import web
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.processes import eventually
from worker.broker import declare
from worker.broker.publisher import Publisher
from worker.broker.topology import topology_of
from worker.ingress.signature import checker, signer
from worker.ingress.spool.drain import Drain
from worker.ingress.spool.keeper import Gate, Keeper
from worker.ingress.spool.writer import Spool
from worker.ingress.webhook import Endpoint, application
from worker.settings import Settings, load
from worker.simulate.rabbitmq import PrivateNode

CALL_ID = "01a058c7-4c94-7cd1-8155-66af75f0734c"
PARKED = "calls.webhook.dead"
LARGEST = 3_000_000
BEARER = {"Authorization": "Bearer s3cret"}


def settings(url: str, **changes: str) -> Settings:
    keys = {
        "AMQP_URL": url,
        "RETRY_TIERS_S": "5",
        "SUBSCRIBERS": "ledger",
        "WEBHOOK_SECRETS": "s3cret,another",
        "ACCOUNTS__ACME_DENTAL__WEBHOOK_SECRETS": "acme-secret",
        "ACCOUNTS__ACME_DENTAL__VAPI_API_KEY": "key",
    }
    return load({f"AFTERCALL_{key}": value for key, value in (keys | changes).items()})


@dataclass
class Served:
    """An endpoint that is served, and the broker behind it."""

    port: int
    amqp_url: str
    publisher: Publisher
    spool: Spool
    http: aiohttp.ClientSession

    async def post(
        self, body: bytes, path: str = "/webhooks/vapi", headers: dict[str, str] | None = None, method: str = "POST"
    ) -> tuple[int, bytes, dict[str, str]]:
        url = f"http://127.0.0.1:{self.port}{path}"
        sent = BEARER if headers is None else headers
        async with self.http.request(method, url, data=io.BytesIO(body), headers=sent) as answer:
            return answer.status, await answer.read(), dict(answer.headers)

    async def send(self, *parts: bytes) -> bytes:
        """Write to a socket as an impolite client does, and read the head of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(5):
                return await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()

    async def take(self, queue: str, within_s: float = 5) -> AbstractIncomingMessage:
        async with await aio_pika.connect(self.amqp_url) as connection:
            found = await (await connection.channel()).get_queue(queue, ensure=False)
            return await eventually(lambda: found.get(no_ack=True, fail=False), within_s)

    async def count(self, queue: str) -> int:
        async with await aio_pika.connect(self.amqp_url) as connection:
            found = await (await connection.channel()).declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0


@asynccontextmanager
async def serving(url: str, body_s: float = 5, spool_max_bytes: int = 2**30, **changes: str) -> AsyncIterator[Served]:
    effective = settings(url, **changes)

    async def set_up(connection: AbstractConnection, _channel: AbstractChannel) -> None:
        await declare.apply(connection, topology_of(effective))

    publisher = Publisher(effective.amqp_url, name="webhook", timeout_s=2, is_patient=False, set_up=set_up)
    session = asyncio.create_task(publisher.session.run())
    folder = tempfile.TemporaryDirectory()
    spool = Spool(Path(folder.name), spool_max_bytes)
    await spool.open()
    gate = Gate(publisher.session.ready.is_set)
    drain = Drain(spool, publisher.publish, gate, publisher.unblocked)
    draining = asyncio.create_task(drain.run())
    endpoint = Endpoint(
        checks={account.name: checker(account) for account in effective.accounts},
        accept=Keeper(publisher.publish, spool.keep, gate).accept,
        max_body_bytes=LARGEST,
        notes=True,
        body_s=body_s,
    )
    runner = web.AppRunner(application(endpoint), access_log=None, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        await eventually(publisher.session.ready.is_set)
        async with aiohttp.ClientSession() as http:
            yield Served(runner.addresses[0][1], url, publisher, spool, http)
    finally:
        await runner.cleanup()
        drain.stop()
        await draining
        await spool.close()
        folder.cleanup()
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


@pytest.fixture
async def served(amqp_url: str) -> AsyncIterator[Served]:
    async with serving(amqp_url) as served:
        yield served


def report(**changes: Any) -> bytes:
    message = {"type": "end-of-call-report", "call": {"id": CALL_ID}, "endedReason": "customer-ended-call"}
    return json.dumps({"message": message | changes}).encode()


def head(length: int | None = None, *more: str, method: str = "POST", path: str = "/webhooks/vapi") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Authorization: Bearer s3cret", *more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


async def test_a_report_is_in_its_queue_byte_for_byte_with_its_headers(served: Served) -> None:
    body = b' \n{"message": {"type": "end-of-call-report", "x": "\\ud83d", "call": {"id": "%s"}}} ' % CALL_ID.encode()
    before = datetime.now(UTC)
    status, answer, _ = await served.post(body, headers=BEARER | {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    kept = await served.take("calls.enrich.default")

    assert (status, answer) == (200, b"{}")
    assert kept.body == body
    assert (kept.routing_key, kept.correlation_id, kept.type) == ("call.ended.default", CALL_ID, "call.ended")
    assert (kept.content_type, kept.content_encoding, kept.app_id) == ("application/json", None, "aftercall")
    told = kept.headers
    assert (told["x-aftercall-account"], told["x-aftercall-source"]) == ("default", "webhook")
    assert (told["x-aftercall-attempt"], told["traceparent"]) == (1, f"00-{'a' * 32}-{'b' * 16}-01")
    received = datetime.fromisoformat(str(told["x-aftercall-received-at"]))
    assert abs((received - before).total_seconds()) < 5


async def test_a_report_is_a_cloud_event_to_anyone(served: Served) -> None:
    await served.post(report())
    kept = await served.take("calls.enrich.default")
    headers = {key: value for key, value in kept.headers.items() if isinstance(value, str)}
    event = from_binary(RabbitMQMessage(headers, kept.content_type, kept.body), JSONFormat())

    assert (event.get_type(), event.get_source(), event.get_subject()) == ("call.ended", "/accounts/default", CALL_ID)
    assert (event.get_specversion(), event.get_datacontenttype()) == ("1.0", "application/json")
    assert event.get_id()
    time_ = event.get_time()
    assert time_ is not None
    assert abs((datetime.now(UTC) - time_).total_seconds()) < 10
    data: Any = event.get_data()
    assert data["message"]["call"]["id"] == CALL_ID


async def test_a_trace_begins_here_if_the_sender_began_none(served: Served) -> None:
    await served.post(report(), headers=BEARER | {"traceparent": "nonsense"})
    trace = str((await served.take("calls.enrich.default")).headers["traceparent"])

    assert [len(part) for part in trace.split("-")] == [2, 32, 16, 2]


@pytest.mark.parametrize("path", ["/webhooks/vapi", "/webhooks/vapi/default"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer s3cret"},
        {"Authorization": "bearer  another"},
        {"X-Vapi-Secret": "s3cret"},
        {"Authorization": "Basic eDp5", "X-Vapi-Secret": "another"},
    ],
)
async def test_either_secret_is_good_in_either_header(served: Served, path: str, headers: dict[str, str]) -> None:
    assert (await served.post(report(), path, headers))[0] == 200
    assert await served.count("calls.enrich.default") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "s3cret"},
        {"X-Vapi-Secret": "s3cret,another"},
        {"X-Vapi-Secret": "acme-secret"},
        {"X-Vapi-Secret": "s3cr\u00e9t"},
    ],
)
async def test_wrong_or_no_credentials_are_a_401(served: Served, headers: dict[str, str]) -> None:
    with capture_logs() as logs:
        assert (await served.post(report(), headers=headers))[0] == 401
    assert await served.count("calls.enrich.default") == 0
    assert logs[-1]["event"] == "webhook.refused"
    assert not any(value and value in repr(logs) for value in headers.values())


async def test_header_bytes_that_are_no_utf_8_are_a_401(served: Served) -> None:
    answer = await served.send(
        b"POST /webhooks/vapi HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"X-Vapi-Secret: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_another_account_has_a_path_secrets_and_a_queue_of_its_own(served: Served) -> None:
    assert (await served.post(report(), "/webhooks/vapi/acme-dental"))[0] == 401
    acme = {"X-Vapi-Secret": "acme-secret"}
    assert (await served.post(report(), "/webhooks/vapi/acme-dental", acme))[0] == 200
    kept = await served.take("calls.enrich.acme-dental")

    assert kept.headers["ce-source"] == "/accounts/acme-dental"
    assert kept.headers["x-aftercall-account"] == "acme-dental"
    assert await served.count("calls.enrich.default") == 0


@pytest.mark.parametrize("path", ["/webhooks/vapi/nobody", "/webhooks/vapi/", "/webhooks", "/", "/webhooks/vapi/a/b"])
async def test_an_account_or_path_that_is_not_served_is_a_404(served: Served, path: str) -> None:
    assert (await served.post(report(), path))[0] == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_another_method_is_a_405(served: Served, method: str) -> None:
    status, _, headers = await served.post(b"", method=method)
    assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("type_", ["status-update", "transcript", "invented-tomorrow"])
async def test_another_type_of_message_is_a_200_and_goes_nowhere(served: Served, type_: str) -> None:
    with capture_logs() as logs:
        status, answer, _ = await served.post(report(type=type_))

    assert (status, answer) == (200, b"{}")
    assert not logs
    for queue in ("calls.enrich.default", PARKED, "calls.unrouted"):
        assert await served.count(queue) == 0


@pytest.mark.parametrize("type_", ["assistant-request", "tool-calls", "transfer-destination-request"])
async def test_a_message_that_expects_an_answer_is_told_as_misdirected(served: Served, type_: str) -> None:
    with capture_logs() as logs:
        assert (await served.post(report(type=type_)))[:2] == (200, b"{}")

    assert [(line["event"], line["type"]) for line in logs] == [("webhook.misdirected", type_)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "undecodable"),
        (b"\xff\x00 garbage", "undecodable"),
        (b'{"message": {"type": "end-of-call-report"', "undecodable"),
        (b"[" * 1_000_000, "undecodable"),
        (b'{"a":' * 200_000, "undecodable"),
        (b"[]", "no-type"),
        (b"{}", "no-type"),
        (b'{"message": {"type": 7}}', "no-type"),
        (report(call={}), "no-call-id"),
        (report(call=None), "no-call-id"),
        (report(call={"id": 7}), "no-call-id"),
        (report(call={"id": "x" * 129}), "no-call-id"),
        (report(call={"id": "two\nlines"}), "no-call-id"),
    ],
)
async def test_what_is_authenticated_and_makes_no_sense_is_parked_with_its_reason(
    served: Served, body: bytes, reason: str
) -> None:
    status, answer, _ = await served.post(body)
    letter = await served.take(PARKED)
    note = await served.take("calls.ledger")

    assert (status, answer) == (200, b"{}")
    assert letter.body == body
    told = letter.headers
    assert (told["x-aftercall-reason"], told["x-aftercall-queue"]) == (reason, "calls.webhook")
    assert told["x-aftercall-account"] == "default"
    assert told["x-aftercall-detail"]
    assert told["x-aftercall-died-at"]
    assert note.routing_key == "call.noted.default.parked"


async def test_a_report_that_nests_deeper_than_any_parser_goes_is_kept_all_the_same(served: Served) -> None:
    body = report().replace(b'"customer-ended-call"', b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    assert (await served.post(body))[0] == 200
    await eventually(lambda: _holds_one_of(served, PARKED, "calls.enrich.default"))


async def _holds_one_of(served: Served, *queues: str) -> bool:
    return sum([await served.count(queue) for queue in queues]) == 1


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


async def test_fifty_identical_reports_at_once_are_fifty_messages(served: Served) -> None:
    answers = await asyncio.gather(*(served.post(report()) for _ in range(50)))

    assert [status for status, _, _ in answers] == [200] * 50
    assert await served.count("calls.enrich.default") == 50


async def test_a_message_larger_than_the_broker_takes_is_kept_and_set_aside_for_an_operator(served: Served) -> None:
    served.publisher.session.max_message_bytes = 10

    assert (await served.post(report()))[0] == 200

    await eventually(lambda: served.spool.totals.aside)
    assert served.spool.totals.waiting == 0


HMACS = [
    {},
    {"WEBHOOK_HMAC_ALGORITHM": "sha512", "WEBHOOK_HMAC_SIGNATURE_ENCODING": "base64"},
    {"WEBHOOK_HMAC_SIGNATURE_PREFIX": "sha256=", "WEBHOOK_HMAC_INCLUDE_TIMESTAMP": "false"},
    {"WEBHOOK_HMAC_PAYLOAD_FORMAT": "{method}:{url}:{timestamp}:{body}"},
    {"WEBHOOK_HMAC_PAYLOAD_FORMAT": "{svix-id}.{timestamp}.{body}", "WEBHOOK_HMAC_MESSAGE_ID_HEADER": "svix-id"},
]


@pytest.mark.parametrize("plan", HMACS)
async def test_a_signature_is_good_over_the_wire_for_these_bytes_alone(amqp_url: str, plan: dict[str, str]) -> None:
    changes = {"WEBHOOK_AUTH": "hmac", **plan}
    account = settings(amqp_url, **changes).account("default")
    assert account is not None
    async with serving(amqp_url, **changes) as served:
        body = report(x="\u00e9")
        headers = signer(account)("POST", f"http://127.0.0.1:{served.port}/webhooks/vapi", body)
        assert (await served.post(body, headers=headers))[0] == 200
        assert (await served.post(body + b" ", headers=headers))[0] == 401
        assert (await served.post(body))[0] == 401
        assert await served.count("calls.enrich.default") == 1


async def test_while_the_broker_is_away_or_frozen_the_answer_is_200_and_all_is_published_later(
    node: PrivateNode,
) -> None:
    async with serving(node.url) as served:
        ready_at = time.monotonic()
        node.pause()
        began = time.monotonic()
        frozen = await asyncio.gather(*(served.post(report()) for _ in range(20)))
        assert time.monotonic() - began < 3
        node.resume()
        await eventually(lambda: not served.spool.totals.waiting)
        await eventually(lambda: time.monotonic() - ready_at > 2)  # RabbitMQ 3.10 loses younger queues in a crash

        posts = [asyncio.create_task(served.post(report())) for _ in range(50)]
        await node.kill()
        began = time.monotonic()
        in_flight = await asyncio.gather(*posts)
        away = [await served.post(report()) for _ in range(3)]
        assert time.monotonic() - began < 3
        await node.restart()
        await eventually(lambda: not served.spool.totals.waiting, within_s=20)
        assert await served.count("calls.enrich.default") >= 73

    assert {status for status, _, _ in [*frozen, *in_flight, *away]} == {200}


async def test_while_the_broker_is_away_and_the_spool_full_the_answer_is_a_503(node: PrivateNode) -> None:
    async with serving(node.url, spool_max_bytes=100) as served:
        await node.kill()
        status, _, headers = await served.post(report())
        assert (status, headers["Retry-After"]) == (503, "5")

        await node.restart()

        await eventually(lambda: _is_taken(served), within_s=20)


async def _is_taken(served: Served) -> bool:
    return (await served.post(report()))[0] == 200
