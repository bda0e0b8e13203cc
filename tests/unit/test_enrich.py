"""When a call goes out, complete or not, and by which id."""

import copy
import hashlib
from typing import Any

import orjson
import pytest

from consumers.enrich import (
    Answer,
    enrich,
)
from consumers.enriched import EnrichedCall
from consumers.messages import Delivery
from consumers.notifications import read_notification
from consumers.outcomes import Hold, Later, Retry
from consumers.settling import settle
from tests.unit.builders import CALL_ID, ENDED_AT, RECEIVED_AT, fetched, notification, report
from tests.unit.enriching import (
    DEADLINE,
    DOWN,
    LATE,
    NO_COST,
    NOT_FOUND,
    OUTAGE,
    SCHEDULE,
    SOON,
    UNREADABLE,
    answered,
    arrived,
    body_of,
    decided,
    later,
    only,
    policy,
)

# What is complete


@pytest.mark.parametrize("name", ["outbound-ended", "inbound-voicemail", "web", "pipeline-error"])
def test_a_complete_call_goes_out_at_once_and_is_done(name: str) -> None:
    message, body = only(decided(notification(report(name)), answered(fetched(name)), SOON))
    assert message.routing_key.startswith("call.enriched.default.")
    assert (body["version"], body["complete"], body["missing"]) == (1, True, [])


def test_a_call_without_data_retention_is_complete_at_once() -> None:
    _, body = only(decided(notification(), answered(fetched("zero-data-retention")), SOON))
    assert body["complete"]
    assert body["provenance"]["source"] == "both"


def test_the_timeline_tells_end_arrival_fetch_emission_and_the_attempt_that_succeeded() -> None:
    _, body = only(decided(notification(attempt=3), answered(fetched()), SOON))
    assert body["timeline"] == {
        "endedAt": "2026-08-31T17:05:55.477Z",
        "receivedAt": "2026-08-31T17:06:00.477Z",
        "fetchedAt": "2026-08-31T17:06:01.477Z",
        "emittedAt": "2026-08-31T17:06:01.477Z",
        "attempts": 3,
    }


def test_what_is_redacted_is_gone_and_named() -> None:
    message, body = only(decided(notification(), answered(fetched()), SOON))
    assert {"monitor.controlUrl", "monitor.listenUrl"} <= set(body["provenance"]["redacted"])
    assert b"/control" not in message.body


def test_each_call_that_goes_out_is_observed_and_no_other() -> None:
    seen: list[EnrichedCall] = []
    decided(notification(), answered(fetched()), SOON, seen=seen)
    assert [call.call_id for call in seen] == [CALL_ID]
    later(notification(NO_COST), answered(LATE), SOON, seen=seen)
    assert len(seen) == 1
    later(notification(NO_COST), answered(LATE), DEADLINE, seen=seen)
    assert len(seen) == 2


# What is not complete yet


@pytest.mark.parametrize(
    ("of", "answer", "kind", "reason"),
    [
        (NO_COST, answered(LATE), Retry, "not final yet: cost missing"),
        (NO_COST, answered(fetched("in-progress")), Retry, "not final yet: status, cost missing"),
        (report(), NOT_FOUND, Retry, "Vapi has no call of this id"),
        (report(), UNREADABLE, Retry, "cut off"),
        (report(), DOWN, Hold, "Vapi answers 503"),
    ],
)
def test_before_its_deadline_an_incomplete_call_waits_and_nothing_goes_out(
    of: dict[str, Any], answer: Answer, kind: type[Later], reason: str
) -> None:
    said = later(notification(copy.deepcopy(of)), copy.deepcopy(answer), SOON)
    assert type(said) is kind
    assert said.reason == reason
    assert (said.first, said.remember, said.due_at) == ((), {}, DEADLINE)


def test_what_the_api_asks_to_wait_is_passed_on() -> None:
    assert later(notification(), DOWN, SOON).after == 70


def test_at_its_deadline_an_incomplete_call_goes_out_as_it_is_and_is_remembered() -> None:
    said = later(notification(NO_COST), answered(LATE), DEADLINE)
    message, body = only(said.first)
    assert type(said) is Retry
    assert (body["version"], body["complete"], body["missing"]) == (1, False, ["cost"])
    assert message.type == "call.enriched"
    assert said.due_at is None
    assert said.remember == {
        "x-aftercall-version": 1,
        "x-aftercall-missing": "cost",
        "x-aftercall-emitted": message.headers["ce-id"],
    }


def test_a_moment_before_its_deadline_nothing_goes_out() -> None:
    assert later(notification(NO_COST), answered(LATE), DEADLINE - 0.001).first == ()


def test_in_an_outage_the_deadline_still_holds_and_the_webhook_is_what_goes_out() -> None:
    said = later(notification(), DOWN, DEADLINE)
    _, body = only(said.first)
    assert type(said) is Hold
    assert (body["complete"], body["missing"]) == (False, ["api"])
    assert body["provenance"]["source"] == "webhook"
    assert body["timeline"]["fetchedAt"] is None
    assert body["call"]["status"] == "ended"


def test_in_a_known_outage_one_wait_takes_a_call_next_to_its_deadline() -> None:
    said = later(notification(), OUTAGE, DEADLINE - 700)
    assert (type(said), said.first, said.after, said.due_at) == (Hold, (), 700, DEADLINE)
    waiting = settle(arrived(), said, schedule=SCHEDULE, now=DEADLINE - 700).messages[0]
    assert waiting.exchange == "calls.retry.10m"


def test_in_a_known_outage_a_call_past_its_deadline_goes_out_and_waits_for_its_amendment() -> None:
    said = later(notification(), OUTAGE, DEADLINE)
    assert only(said.first)[1]["missing"] == ["api"]
    assert (type(said), said.after, said.due_at) == (Hold, 60, None)


def test_a_swept_call_whose_deadline_passed_long_ago_goes_out_with_what_there_is_at_the_first_attempt() -> None:
    now = ENDED_AT + 20 * 3600
    swept = notification(NO_COST, source="sweep", received_at=now, first_attempt_at=now)
    message, body = only(later(swept, answered(LATE), now).first)
    assert (body["version"], body["missing"]) == (1, ["cost"])
    assert message.headers["x-aftercall-source"] == "sweep"


def test_a_swept_call_that_is_complete_is_done_however_old_it_is() -> None:
    now = ENDED_AT + 20 * 3600
    swept = notification(source="sweep", received_at=now, first_attempt_at=now)
    assert only(decided(swept, answered(fetched()), now))[1]["complete"]


# The id of an event


def test_a_second_webhook_and_another_replica_make_the_same_event() -> None:
    one, _ = only(decided(notification(), answered(fetched()), SOON))
    other, _ = only(
        decided(notification(attempt=5, received_at=RECEIVED_AT + 99, source="sweep"), answered(fetched()), SOON + 200)
    )
    assert other.headers["ce-id"] == one.headers["ce-id"]
    assert other.body != one.body


def test_presigned_urls_made_anew_do_not_make_another_event() -> None:
    changed = fetched()
    changed["artifact"]["presignedMonoUrl"] = "https://private-storage.example/anew"
    one, _ = only(decided(notification(), answered(fetched()), SOON))
    other, _ = only(decided(notification(), answered(changed), SOON))
    assert other.headers["ce-id"] == one.headers["ce-id"]


def test_the_same_content_as_an_amendment_keeps_its_id() -> None:
    one, _ = only(decided(notification(), answered(fetched()), SOON))
    other, _ = only(decided(notification(version=1, missing=("cost",), emitted="x"), answered(fetched()), SOON))
    assert (one.type, other.type) == ("call.enriched", "call.amended")
    assert other.headers["ce-id"] == one.headers["ce-id"]


def test_the_id_is_the_sha_256_of_the_body_without_version_and_timeline() -> None:
    message, body = only(decided(notification(account="acme"), answered(fetched()), SOON))
    content = {key: value for key, value in body.items() if key not in ("version", "timeline")}
    digits = hashlib.sha256(orjson.dumps(content)).hexdigest()[:16]
    assert message.headers["ce-id"] == f"acme/{CALL_ID}/{digits}"


# All the way round


def test_through_tier_and_back_a_late_call_goes_out_twice_and_is_settled() -> None:
    """The headers that settling writes are what enriching reads when the delivery comes again."""
    came = arrived()
    said = later(read_notification(came, DEADLINE), answered(fetched("in-progress")), DEADLINE)
    first, waiting, *_ = settle(came, said, schedule=SCHEDULE, now=DEADLINE).messages
    assert body_of(first)["missing"] == ["status"]

    back = Delivery(queue=waiting.routing_key, body=waiting.body, headers=waiting.headers, call_id=CALL_ID)
    of = read_notification(back, DEADLINE + 5)
    assert (of.journey.version, of.journey.missing, of.journey.attempt) == (1, ("status",), 2)
    message, body = only(decided(of, answered(fetched()), DEADLINE + 5))
    assert (message.type, body["version"], body["timeline"]["attempts"]) == ("call.amended", 2, 2)


async def test_a_swept_call_that_went_out_meanwhile_is_dropped_and_nobody_asks_for_it() -> None:
    swept = arrived(source="sweep")

    async def known(account: str, call_id: str) -> bool:
        return (account, call_id) == (swept.account, swept.call_id)

    async def nobody_asks(_call_id: str) -> bytes:
        raise AssertionError

    assert await enrich(swept, SOON, fetch_call=nobody_asks, policy=policy(is_known=known)) == ()


async def test_what_a_webhook_told_goes_out_whatever_the_ledger_knows() -> None:
    async def known(_account: str, _call_id: str) -> bool:
        return True

    async def fetch_call(_call_id: str) -> bytes:
        return orjson.dumps(fetched())

    assert len(await enrich(arrived(), SOON, fetch_call=fetch_call, policy=policy(is_known=known))) == 1
