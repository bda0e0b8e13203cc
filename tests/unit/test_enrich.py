import copy
import hashlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from consumers.enrich import (
    Answer,
    ApiUnavailable,
    CallNotFound,
    CallRefused,
    CallUnreadable,
    Policy,
    ask,
    decide,
    enrich,
    read_call,
)
from consumers.enriched import EnrichedCall
from consumers.messages import Delivery, Message
from consumers.notifications import Notification, read_notification
from consumers.outcomes import Hold, Later, Retry
from consumers.redaction import redactor
from consumers.settling import Schedule, settle
from tests.unit.builders import CALL_ID, ENDED_AT, RECEIVED_AT, fetched, notification, report, sample_bytes

EMIT_AFTER_S, GIVE_UP_AFTER_S = 900, 90_000
SOON = RECEIVED_AT + 1
DEADLINE = ENDED_AT + EMIT_AFTER_S
OVER = RECEIVED_AT + GIVE_UP_AFTER_S
SCHEDULE = Schedule((5, 30, 120, 600, 3600, 21600), GIVE_UP_AFTER_S)

# An answered call whose cost nobody knows yet: what is late most often.
NO_COST = report(cost=...)
LATE = fetched(cost=...)
NOT_FOUND = Answer(trouble="Vapi has no call of this id")
GONE = Answer(trouble="Vapi has no call of this id", is_gone=True)
UNREADABLE = Answer(trouble="cut off")
DOWN = Answer(trouble="Vapi answers 503", is_shared=True, retry_after=70)
OUTAGE = Answer(trouble="the breaker is open", is_shared=True, is_outage=True, retry_after=60)


async def unknown(_account: str, _call_id: str) -> bool:
    return False


def policy(now: float = SOON, seen: list[EnrichedCall] | None = None, **changes: Any) -> Policy:
    told: dict[str, Any] = {
        "emit_after_s": EMIT_AFTER_S,
        "give_up_after_s": GIVE_UP_AFTER_S,
        "redact": redactor(["defaults"]),
        "observe": ([] if seen is None else seen).append,
        "is_known": unknown,
        "clock": lambda: now,
    }
    return Policy(**(told | changes))


def answered(call: dict[str, Any]) -> Answer:
    return Answer(call=copy.deepcopy(call))


def decided(of: Notification, answer: Answer, now: float, **changes: Any) -> tuple[Message, ...]:
    return decide(of, answer, policy(now, **changes), now)


def later(of: Notification, answer: Answer, now: float, **changes: Any) -> Later:
    with pytest.raises(Later) as caught:
        decided(of, answer, now, **changes)
    return caught.value


def body_of(message: Message) -> dict[str, Any]:
    document = orjson.loads(message.body)
    assert isinstance(document, dict)
    return document


def only(messages: tuple[Message, ...]) -> tuple[Message, dict[str, Any]]:
    (message,) = messages
    return message, body_of(message)


def again(of: dict[str, Any], after: Later, **changes: Any) -> Notification:
    """The notification as it comes back from the tier, remembering what went out."""
    remembered = {
        "version": after.remember["x-aftercall-version"],
        "missing": tuple(after.remember["x-aftercall-missing"].split(",")),
        "emitted": after.remember["x-aftercall-emitted"],
    }
    return notification(copy.deepcopy(of), **(remembered | changes))


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
    waiting = settle(_delivery(), said, schedule=SCHEDULE, now=DEADLINE - 700).messages[0]
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


# Amendments


def test_what_comes_later_goes_out_as_version_2_and_is_done() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    message, body = only(decided(again(NO_COST, first), answered(fetched()), DEADLINE + 60))
    assert message.type == "call.amended"
    assert (body["version"], body["complete"], body["missing"]) == (2, True, [])
    assert message.headers["ce-id"] != first.remember["x-aftercall-emitted"]


def test_an_amendment_goes_out_each_time_less_is_missing() -> None:
    running = fetched("in-progress", cost=...)
    first = later(notification(NO_COST), answered(running), DEADLINE)
    assert first.remember["x-aftercall-missing"] == "status,cost"

    second = later(again(NO_COST, first), answered(LATE), DEADLINE + 60)
    message, body = only(second.first)
    assert (message.type, body["version"], body["missing"]) == ("call.amended", 2, ["cost"])
    assert second.remember["x-aftercall-version"] == 2

    _, last = only(decided(again(NO_COST, second), answered(fetched()), DEADLINE + 120))
    assert (last["version"], last["complete"]) == (3, True)


def test_while_as_much_is_missing_nothing_more_goes_out() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    said = later(again(NO_COST, first), answered(LATE | {"name": "changed"}), DEADLINE + 60)
    assert (said.first, said.remember) == ((), {})


def test_after_an_outage_the_answer_is_an_amendment_though_something_is_missing_still() -> None:
    first = later(notification(NO_COST), DOWN, DEADLINE)
    assert first.remember["x-aftercall-missing"] == "api,cost"
    _, body = only(later(again(NO_COST, first), answered(LATE), DEADLINE + 60).first)
    assert (body["version"], body["missing"]) == (2, ["cost"])


@pytest.mark.parametrize("answer", [DOWN, UNREADABLE, NOT_FOUND])
def test_without_an_answer_no_amendment_goes_out_even_if_the_webhook_alone_would_lack_less(answer: Answer) -> None:
    """The record shows a start, hence waits for a cost; the webhook alone knows of no start."""
    unstarted = report(cost=..., startedAt=...)
    first = later(notification(copy.deepcopy(unstarted)), answered(fetched("in-progress", cost=...)), DEADLINE)
    assert first.remember["x-aftercall-missing"] == "status,cost"
    assert later(again(unstarted, first), answer, DEADLINE + 60).first == ()


# The end of waiting


def test_a_call_that_was_incomplete_to_the_end_ends_without_another_word() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    assert decided(again(NO_COST, first), answered(LATE), OVER) == ()


def test_what_changed_since_the_last_emission_goes_out_at_the_end() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    message, body = only(decided(again(NO_COST, first), answered(LATE | {"name": "changed"}), OVER))
    assert (message.type, body["version"], body["missing"]) == ("call.amended", 2, ["cost"])
    assert body["call"]["name"] == "changed"


def test_what_completes_at_the_end_goes_out_complete() -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    assert only(decided(again(NO_COST, first), answered(fetched()), OVER))[1]["complete"]


def test_an_outage_gives_up_nothing() -> None:
    first = later(notification(), DOWN, DEADLINE)
    said = later(again(report(), first), DOWN, OVER + 99 * 3600)
    assert type(said) is Hold
    assert said.first == ()


def test_a_call_that_was_held_over_a_weekend_is_asked_for_and_then_ends() -> None:
    first = later(notification(NO_COST), DOWN, DEADLINE)
    _, body = only(decided(again(NO_COST, first), answered(LATE), OVER + 99 * 3600))
    assert (body["version"], body["missing"]) == (2, ["cost"])


@pytest.mark.parametrize("answer", [UNREADABLE, NOT_FOUND, GONE])
def test_what_went_out_from_the_api_is_not_followed_by_less_at_the_end(answer: Answer) -> None:
    first = later(notification(NO_COST), answered(LATE), DEADLINE)
    assert decided(again(NO_COST, first), answer, OVER) == ()


def test_a_call_of_which_nothing_went_out_goes_out_at_the_end_if_its_deadline_has_come() -> None:
    _, body = only(decided(notification(NO_COST), answered(LATE), OVER))
    assert (body["version"], body["complete"], body["missing"]) == (1, False, ["cost"])


def test_giving_up_before_the_deadline_makes_a_dead_letter() -> None:
    of = notification(NO_COST)
    now = RECEIVED_AT + 60
    said = later(of, answered(LATE), now, give_up_after_s=60)
    settlement = settle(_delivery(), said, schedule=Schedule((5, 30), 60), now=now)
    assert (settlement.name, settlement.reason) == ("dead_lettered", "gave-up")


def _delivery(call_id: str = CALL_ID, **headers: str) -> Delivery:
    told = {
        "x-aftercall-received-at": "2026-08-31T17:06:00.477Z",
        "x-aftercall-first-attempt-at": "2026-08-31T17:06:00.477Z",
    }
    return Delivery(
        queue="calls.enrich.default",
        body=sample_bytes("end-of-call-report-outbound-ended.json"),
        headers=told | {f"x-aftercall-{key}": value for key, value in headers.items()},
        call_id=call_id,
    )


# A call that Vapi does not have


def test_a_call_that_is_gone_is_what_the_webhook_told() -> None:
    _, body = only(decided(notification(), GONE, SOON))
    assert (body["complete"], body["provenance"]["source"]) == (True, "webhook")
    assert body["timeline"]["fetchedAt"] is None
    assert body["call"]["status"] == "ended"


def test_a_call_that_is_gone_and_lacks_something_waits_for_its_deadline() -> None:
    assert later(notification(NO_COST), GONE, SOON).due_at == DEADLINE
    assert only(later(notification(NO_COST), GONE, DEADLINE).first)[1]["missing"] == ["cost"]


@pytest.mark.parametrize(("age_s", "is_gone"), [(0, False), (299, False), (300, True), (86_400, True)])
async def test_a_404_means_not_yet_in_the_first_minutes_and_gone_later(age_s: float, is_gone: bool) -> None:
    answer = await ask(CALL_ID, raises(CallNotFound()))
    if is_gone:
        assert only(decided(notification(), answer, ENDED_AT + age_s))[1]["complete"]
    else:
        assert "no call of this id" in later(notification(), answer, ENDED_AT + age_s).reason


def raises(error: Exception) -> Callable[[str], Any]:
    async def fetch(_call_id: str) -> bytes:
        raise error

    return fetch


def answers(body: bytes) -> Callable[[str], Any]:
    async def fetch(call_id: str) -> bytes:
        assert call_id == CALL_ID
        return body

    return fetch


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (CallRefused("no UUID"), Answer(trouble="no UUID", is_gone=True)),
        (CallUnreadable("cut off"), Answer(trouble="cut off")),
        (ApiUnavailable("down", 7.5), Answer(trouble="down", is_shared=True, retry_after=7.5)),
        (ApiUnavailable("down"), Answer(trouble="down", is_shared=True)),
        (ApiUnavailable("known", is_outage=True), Answer(trouble="known", is_shared=True, is_outage=True)),
    ],
)
async def test_each_trouble_has_its_meaning(error: Exception, answer: Answer) -> None:
    assert await ask(CALL_ID, raises(error)) == answer


async def test_an_error_that_nobody_foresaw_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        await enrich(_delivery(), SOON, fetch_call=raises(ZeroDivisionError()), policy=policy())


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{", b"[]", b"null", b'"text"', b'{"id": "another"}', b'{"id": null}', b"[" * 99_999]
)
async def test_an_answer_that_is_not_the_call_is_unreadable_and_the_calls_own_trouble(body: bytes) -> None:
    with pytest.raises(CallUnreadable):
        read_call(body, CALL_ID)
    answer = await ask(CALL_ID, answers(body))
    assert (answer.call, answer.is_shared, answer.is_gone) == (None, False, False)
    assert answer.trouble


async def test_an_answer_with_half_an_emoji_is_read() -> None:
    answer = await ask(CALL_ID, answers(b'{"id": "%b", "name": "\\ud83d"}' % CALL_ID.encode()))
    assert answer.call == {"id": CALL_ID, "name": "\ufffd"}


async def test_enriching_asks_once_for_the_call_and_sends_it_out() -> None:
    fetch_call = answers(sample_bytes("call-outbound-ended.json"))
    assert only(await enrich(_delivery(), SOON, fetch_call=fetch_call, policy=policy()))[1]["complete"]


@pytest.mark.parametrize("told", ["", "another-call"])
async def test_the_call_is_the_one_that_the_report_is_about_whatever_its_message_says(told: str) -> None:
    async def fetch_call(call_id: str) -> bytes:
        return sample_bytes("call-outbound-ended.json") if call_id == CALL_ID else b"{}"

    _, body = only(await enrich(_delivery(told), SOON, fetch_call=fetch_call, policy=policy()))
    assert (body["callId"], body["complete"]) == (CALL_ID, True)


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
    came = _delivery()
    said = later(read_notification(came, DEADLINE), answered(fetched("in-progress")), DEADLINE)
    first, waiting, *_ = settle(came, said, schedule=SCHEDULE, now=DEADLINE).messages
    assert body_of(first)["missing"] == ["status"]

    back = Delivery(queue=waiting.routing_key, body=waiting.body, headers=waiting.headers, call_id=CALL_ID)
    of = read_notification(back, DEADLINE + 5)
    assert (of.journey.version, of.journey.missing, of.journey.attempt) == (1, ("status",), 2)
    message, body = only(decided(of, answered(fetched()), DEADLINE + 5))
    assert (message.type, body["version"], body["timeline"]["attempts"]) == ("call.amended", 2, 2)


async def test_a_swept_call_that_went_out_meanwhile_is_dropped_and_nobody_asks_for_it() -> None:
    swept = _delivery(source="sweep")

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

    assert len(await enrich(_delivery(), SOON, fetch_call=fetch_call, policy=policy(is_known=known))) == 1
