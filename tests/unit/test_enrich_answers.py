"""What an answer of Vapi's means to a call, be it a trouble or unreadable."""

from collections.abc import Callable
from typing import Any

import pytest

from consumers.enrich import (
    Answer,
    ApiUnavailable,
    CallNotFound,
    CallRefused,
    CallUnreadable,
    ask,
    enrich,
    is_refusal,
    read_call,
)
from tests.unit.builders import CALL_ID, ENDED_AT, notification, sample_bytes
from tests.unit.enriching import DEADLINE, GONE, NO_COST, SOON, arrived, decided, later, only, policy


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


@pytest.mark.parametrize(
    ("body", "is_ours"),
    [
        (sample_bytes("http-400.json"), True),
        (b'{"message":"id must be a UUID","statusCode":400}', True),
        (b"<html>400 No required SSL certificate was sent</html>", False),
        (b'{"message":"No required TLS certificate was sent"}', False),
        (b'{"message":[],"statusCode":400}', False),
        (b'["no"]', False),
        (b"", False),
    ],
)
def test_only_a_400_of_vapis_own_refuses_the_call(body: bytes, is_ours: bool) -> None:
    assert is_refusal(body) is is_ours


async def test_an_error_that_nobody_foresaw_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        await enrich(arrived(), SOON, fetch_call=raises(ZeroDivisionError()), policy=policy())


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
    assert only(await enrich(arrived(), SOON, fetch_call=fetch_call, policy=policy()))[1]["complete"]


@pytest.mark.parametrize("told", ["", "another-call"])
async def test_the_call_is_the_one_that_the_report_is_about_whatever_its_message_says(told: str) -> None:
    async def fetch_call(call_id: str) -> bytes:
        return sample_bytes("call-outbound-ended.json") if call_id == CALL_ID else b"{}"

    _, body = only(await enrich(arrived(told), SOON, fetch_call=fetch_call, policy=policy()))
    assert (body["callId"], body["complete"]) == (CALL_ID, True)
