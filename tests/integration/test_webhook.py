"""The endpoint over real HTTP with a real broker: every row of the table of answers, and what is in the queue then."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from structlog.testing import capture_logs

from tests.integration.webhooks import BEARER, CALL_ID, PARKED, Served, report
from tests.processes import eventually


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


async def test_fifty_identical_reports_at_once_are_fifty_messages(served: Served) -> None:
    answers = await asyncio.gather(*(served.post(report()) for _ in range(50)))

    assert [status for status, _, _ in answers] == [200] * 50
    assert await served.count("calls.enrich.default") == 50
