import copy
from typing import Any

import orjson
import pytest

from consumers.messages import END_OF_CALL_REPORT, pack
from consumers.notifications import read_notification, write_notification
from consumers.outcomes import Undecodable
from consumers.parts import value_of
from consumers.timestamps import iso
from tests.unit.builders import CALL_ID, ENDED_AT, RECEIVED_AT, TRACEPARENT, delivery, report, sample_bytes

NOW = RECEIVED_AT + 1
HEADERS = {"x-aftercall-received-at": iso(RECEIVED_AT), "x-aftercall-source": "webhook", "traceparent": TRACEPARENT}


def body_of(**message: Any) -> bytes:
    return orjson.dumps({"message": {"type": END_OF_CALL_REPORT, "call": {"id": CALL_ID}} | message})


def whole(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value_of(part) for key, part in told.items()}


def ended_at(**message: Any) -> float:
    return read_notification(delivery(body_of(**message), HEADERS), NOW).ended_at


def test_a_notification_tells_call_account_end_and_journey() -> None:
    read = read_notification(delivery(sample_bytes("end-of-call-report-outbound-ended.json"), HEADERS), NOW)
    assert (read.account, read.call_id, whole(read.report)) == ("default", CALL_ID, report())
    assert read.ended_at == ENDED_AT
    assert read.journey.source == "webhook"
    assert read.trace == {"traceparent": TRACEPARENT}


@pytest.mark.parametrize(
    ("message", "moment"),
    [
        ({"endedAt": iso(ENDED_AT)}, ENDED_AT),
        ({"timestamp": int(ENDED_AT * 1000)}, ENDED_AT),
        ({"endedAt": None, "timestamp": int(ENDED_AT * 1000)}, ENDED_AT),
        ({"endedAt": "soon", "timestamp": "late"}, RECEIVED_AT),
        ({"endedAt": "0001-01-01T00:00:00+14:00"}, RECEIVED_AT),
        ({}, RECEIVED_AT),
        ({"endedAt": iso(RECEIVED_AT + 3600)}, RECEIVED_AT),
        ({"timestamp": 1e300}, RECEIVED_AT),
    ],
)
def test_a_call_ended_when_vapi_says_and_never_after_it_was_received(message: dict[str, Any], moment: float) -> None:
    assert ended_at(**message) == pytest.approx(moment, abs=0.002)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "message.type is “”"),
        (b'{"message": {"type": "status-update", "call": {"id": "c"}}}', "message.type is “status-update”"),
        (body_of(call=None), "message.call.id is missing"),
        (body_of(call={"id": "two words"}), "message.call.id is missing"),
    ],
)
def test_what_is_no_notification_is_undecodable_and_says_what_it_is(body: bytes, why: str) -> None:
    with pytest.raises(Undecodable, match=why):
        read_notification(delivery(body), NOW)


@pytest.mark.parametrize(("body", "encoding"), [(b"{}", "gzip"), (body_of(), "br")])
def test_what_cannot_be_unpacked_is_undecodable(body: bytes, encoding: str) -> None:
    with pytest.raises(Undecodable):
        read_notification(delivery(body, content_encoding=encoding), NOW)


@pytest.mark.parametrize("odd", [b'"\\ud83d"', b'"\xff"', b"NaN", b"1e999", b"1" + b"0" * 400])
def test_json_as_it_really_is_is_a_notification_like_any_other(odd: bytes) -> None:
    body = b'{"message": {"type": "end-of-call-report", "call": {"id": "c"}, "x": %b}}' % odd
    assert read_notification(delivery(body), NOW).call_id == "c"


@pytest.mark.parametrize("body", [body_of(), b'{"message": "\xff\\ud83d" }', b"\x00garbage", body_of(x="y" * 2**20)])
def test_the_bytes_of_the_webhook_travel_untouched(body: bytes) -> None:
    message = write_notification(
        pack(body), account="acme", call_id="c", source="webhook", received_at=RECEIVED_AT, traceparent=TRACEPARENT
    )
    assert (message.body, message.content_encoding) == pack(body)


def test_a_notification_goes_to_the_queue_of_its_account_with_its_story() -> None:
    message = write_notification(
        pack(body_of()), account="acme", call_id="c", source="sweep", received_at=RECEIVED_AT, traceparent=TRACEPARENT
    )
    assert (message.exchange, message.routing_key, message.type) == ("calls", "call.ended.acme", "call.ended")
    assert message.content_type == "application/json"
    assert message.headers == {
        "ce-specversion": "1.0",
        "ce-id": "acme/c/ended",
        "ce-type": "call.ended",
        "ce-source": "/accounts/acme",
        "ce-subject": "c",
        "ce-time": "2026-08-31T17:06:00.477Z",
        "x-aftercall-account": "acme",
        "x-aftercall-source": "sweep",
        "x-aftercall-received-at": "2026-08-31T17:06:00.477Z",
        "x-aftercall-attempt": 1,
        "traceparent": TRACEPARENT,
    }


@pytest.mark.parametrize("size", [0, 2**20])
def test_what_was_written_is_read_again(size: int) -> None:
    body = body_of(endedAt=iso(ENDED_AT), transcript="x" * size)
    message = write_notification(
        pack(body), account="acme", call_id=CALL_ID, source="sweep", received_at=RECEIVED_AT, traceparent=TRACEPARENT
    )
    came = delivery(message.body, message.headers, queue="calls.enrich.acme", content_encoding=message.content_encoding)
    read = read_notification(copy.deepcopy(came), NOW)
    assert (read.account, read.call_id, whole(read.report)) == ("acme", CALL_ID, orjson.loads(body)["message"])
    assert (read.journey.source, read.journey.attempt) == ("sweep", 1)
    assert read.ended_at == pytest.approx(ENDED_AT, abs=0.001)
