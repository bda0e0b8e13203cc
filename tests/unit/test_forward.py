"""What a target's answer means, and what all of them make of a delivery."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.enriched import emission
from consumers.forward import REFUSED, Answer, Gone, conclude, judge, refused_before
from consumers.inbox import arrival_of
from consumers.messages import Delivery
from consumers.outcomes import Hold, Reject, Retry
from consumers.settling import Schedule, settle
from tests.unit.builders import CALL_ID, delivery, enriched_call

NOW = 1_800_000_000.0
SCHEDULE = Schedule((5, 30, 120), 3600)
QUEUE = "calls.forward"


def verdict(status: int, body: bytes = b"", **changes: Any) -> Exception | None:
    try:
        judge(Answer(status=status, body=body, **changes))
    except (Retry, Reject) as error:
        return error
    return None


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_took_the_call(status: int) -> None:
    assert verdict(status, b"whatever") is None


@pytest.mark.parametrize("status", [408, 409, 423, 425, 429, 500, 502, 503, 504, 520, 599])
def test_what_may_pass_is_tried_again_when_the_target_asks_for_it(status: int) -> None:
    error = verdict(status, b" later,\n please ", retry_after_s=77.0)

    assert isinstance(error, Retry)
    assert (error.reason, error.after) == (f"answers {status}: “later, please”", 77.0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422])
def test_any_other_4xx_is_a_refusal_in_the_words_of_the_target(status: int) -> None:
    error = verdict(status, b'{"error": "no such field"}')

    assert isinstance(error, Reject)
    assert error.reason == f'answers {status}: “{{"error": "no such field"}}”'


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_refusal_that_says_what_to_do(status: int) -> None:
    error = verdict(status)

    assert isinstance(error, Reject)
    assert error.reason == f"answers {status}, and redirects are not followed: set its url to the new address"


def test_410_is_the_end_of_the_target_and_a_200_that_tells_of_no_success_is_tried_again() -> None:
    assert isinstance(verdict(410), Gone)
    error = verdict(200, b'{"ok": false}', says_ok=False)
    assert isinstance(error, Retry)
    assert error.reason == 'answers 200, but not the success it is set to tell: “{"ok": false}”'


def test_what_a_target_quotes_of_a_call_is_not_passed_on() -> None:
    error = verdict(422, b"no contact +1 (503) 555-0167 <priya@example.com>, see error 1234 " + b"x" * 500)

    assert isinstance(error, Reject)
    assert error.reason.startswith("answers 422: “no contact … <…>, see error 1234 xxx")
    assert len(error.reason) < 230


def test_bytes_that_are_no_text_are_still_told() -> None:
    assert str(verdict(400, b"\xff\xfe no")) == "answers 400: “\ufffd\ufffd no”"


SAID = st.sampled_from(
    [None, Retry("waits"), Retry("waits", after=60), Retry("waits", after=600), Reject("refuses"), ValueError("odd")]
)
NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, SAID), st.dictionaries(st.sampled_from("uvw"), st.just("refused before")))
def test_neither_a_refusal_hides_a_retry_nor_a_retry_a_refusal(
    said: Mapping[str, Exception | None], before: Mapping[str, str]
) -> None:
    error = conclude(said, before)

    undone = {name for name, each in said.items() if each is not None} | before.keys()
    refused = {name for name, each in said.items() if isinstance(each, Reject)} | before.keys()
    retries = [each for each in said.values() if isinstance(each, Retry)]
    if not undone:
        assert error is None
    elif retries:
        assert isinstance(error, Retry)
        assert all(f"{name} " in error.reason for name in undone)
        assert orjson.loads(error.remember[REFUSED]).keys() == refused
        assert error.after == (
            None if any(each.after is None for each in retries) else min(each.after or 0 for each in retries)
        )
    elif undone - refused:
        assert isinstance(error, ValueError)
        assert all(f"{name} " in error.__notes__[-1] for name in undone)
    else:
        assert isinstance(error, Reject)
        assert all(f"{name} " in error.reason for name in undone)


@given(st.dictionaries(NAMES, st.lists(st.sampled_from(["wait", "refuse", "take"]), max_size=6), min_size=1))
def test_each_target_is_posted_until_it_takes_or_refuses_and_the_letter_names_exactly_who_refused(
    scripts: dict[str, list[str]],
) -> None:
    posts, state, taken = dict.fromkeys(scripts, 0), arrival(), set[str]()
    for _ in range(20):
        before = refused_before(state, NOW)
        said: dict[str, Exception | None] = {}
        for name, script in scripts.items():
            if name in taken or name in before:
                continue  # the inbox drops what is done
            answer = script[posts[name]] if posts[name] < len(script) else "take"
            posts[name] += 1
            said[name] = {"wait": Retry("waits"), "refuse": Reject("refuses"), "take": None}[answer]
            taken |= {name} if answer == "take" else set()
        error = conclude(said, before)
        settlement = settle(state, error if isinstance(error, Exception) else (), schedule=SCHEDULE, now=NOW)
        if settlement.name != "retried":
            break
        state = delivery(b"{}", settlement.messages[0].headers, queue=QUEUE)

    expected = {name: [*script, "take"] for name, script in scripts.items()}
    ends = {name: next(i for i, each in enumerate(script) if each != "wait") for name, script in expected.items()}
    assert posts == {name: end + 1 for name, end in ends.items()}
    refusing = {name for name, end in ends.items() if expected[name][end] == "refuse"}
    assert settlement.name == ("dead_lettered" if refusing else "acked")
    assert {part.split()[0] for part in settlement.detail.split("; ") if part} == refusing


def arrival(**headers: Any) -> Delivery:
    return delivery(b"{}", headers, queue=QUEUE)


def test_a_refusal_is_remembered_until_a_replay_begins_anew() -> None:
    headers = {REFUSED: '{"a": "answers 400"}'}

    assert refused_before(delivery(b"", headers | {"x-aftercall-attempt": 2}), NOW) == {"a": "answers 400"}
    assert refused_before(delivery(b"", headers | {"x-aftercall-attempt": 1}), NOW) == {}


def test_after_a_replay_the_refusals_of_before_are_not_believed_again() -> None:
    replayed = arrival(**{REFUSED: '{"a": "answers 400"}', "x-aftercall-attempt": 1})

    again = conclude({"a": None, "b": Retry("waits")}, refused_before(replayed, NOW))

    assert isinstance(again, Retry)
    assert again.remember == {REFUSED: "{}"}


def test_a_call_that_another_process_is_at_costs_no_attempt_unless_a_target_failed_too() -> None:
    held = conclude({"a": Hold("is at work elsewhere", after=20), "b": None}, {})
    failed = conclude({"a": Hold("is at work elsewhere", after=20), "b": Retry("answers 500")}, {})

    assert (type(held), type(failed)) == (Hold, Retry)
    assert settle(arrival(), held, schedule=SCHEDULE, now=NOW).messages[0].headers["x-aftercall-attempt"] == 1


@pytest.mark.parametrize("odd", [None, 7, "", "{", "[]", "8"])
def test_an_odd_memory_is_none(odd: Any) -> None:
    assert refused_before(arrival(**{REFUSED: odd, "x-aftercall-attempt": 2}), NOW) == {}


def test_a_call_that_is_given_up_tells_who_refused_it_and_who_never_answered() -> None:
    begun = {
        "x-aftercall-attempt": 9,
        "x-aftercall-first-attempt-at": "2020-01-01T00:00:00Z",
        REFUSED: '{"b": "said no"}',
    }
    late = arrival(**begun)

    error = conclude({"a": Retry("does not answer")}, refused_before(late, NOW))
    assert isinstance(error, Retry)
    settlement = settle(late, error, schedule=SCHEDULE, now=NOW)

    assert (settlement.reason, settlement.detail) == ("gave-up", "a does not answer; b said no")


def test_a_bug_is_settled_with_its_traceback_and_what_the_other_targets_said() -> None:
    error = conclude({"a": Reject("said no"), "b": ValueError("odd")}, {})
    assert isinstance(error, ValueError)

    settlement = settle(arrival(**{"x-aftercall-attempt": 9}), error, schedule=SCHEDULE, now=NOW)

    assert (settlement.reason, settlement.detail) == ("error", "ValueError"), "the log is told no more"
    detail = str(settlement.messages[0].headers["x-aftercall-detail"])
    assert detail.splitlines()[-2:] == ["ValueError: odd", "b met an error: ValueError: “odd”; a said no"]


def test_the_id_of_a_post_is_that_of_the_event_or_made_of_its_content() -> None:
    call = enriched_call()
    made = emission(call, source="webhook", emitted_at=NOW, trace={}).headers["ce-id"]

    assert arrival_of("forward/a", call, delivery(b"", {"ce-id": "default/x/1"})).id == "default/x/1"
    for odd in ({}, {"ce-id": ""}, {"ce-id": "a\r\nx-evil: 1"}, {"ce-id": 7}):
        assert arrival_of("forward/a", call, delivery(b"", odd)).id == made
    assert CALL_ID in made
