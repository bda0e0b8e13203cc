"""Consuming from a real broker: the table of settlements from end to end, and what happens when things break."""

import asyncio
import gzip
import time
from typing import Any

import pytest

from consumers.messages import Delivery
from consumers.notifications import read_notification
from consumers.outcomes import Hold, Reject, Retry
from tests.integration.consumers import (
    DEAD,
    LEDGER,
    QUEUE,
    TIER,
    Answer,
    by_hand,
    consuming,
    count,
    emission,
    forever,
    ours,
    put,
    take,
)
from tests.processes import eventually


async def test_what_a_consumer_returns_is_published_and_its_delivery_acknowledged(amqp_url: str) -> None:
    async with consuming(amqp_url, (emission(b"one"), emission(b"two"))):
        await put(amqp_url, b"in")
        assert (await take(amqp_url, LEDGER)).body == b"one"
        assert (await take(amqp_url, LEDGER)).body == b"two"
    assert await count(amqp_url, QUEUE) == 0


async def test_a_consumer_sees_the_message_as_it_was_published(amqp_url: str) -> None:
    async with consuming(amqp_url) as (script, _, _):
        properties: dict[str, Any] = {"content_type": "a/b", "content_encoding": "gzip", "type": "t"}
        await put(
            amqp_url, b"\x00\xff", headers={"x-h": "é"}, correlation_id="id", timestamp=1_700_000_000, **properties
        )
        await eventually(lambda: script.heard)

    [seen] = script.heard
    assert (seen.queue, seen.body, seen.call_id, seen.headers["x-h"]) == (QUEUE, b"\x00\xff", "id", "é")
    assert (seen.content_type, seen.content_encoding, seen.type) == ("a/b", "gzip", "t")
    assert seen.published_at == 1_700_000_000


async def test_a_retry_comes_back_from_its_tier_as_the_next_attempt_and_is_noted(amqp_url: str) -> None:
    async with consuming(amqp_url, Retry("not yet", after=1.5)) as (script, _, _):
        began = time.time()
        await put(
            amqp_url, b"in", headers={"x-own": "kept", "traceparent": "t"}, correlation_id="id", type="call.ended"
        )
        await eventually(lambda: len(script.heard) == 2)
        waited_s = time.time() - began
        note = await take(amqp_url, LEDGER)

    first, second = script.heard
    assert waited_s > 1.9
    assert (second.body, second.call_id, second.type) == (b"in", "id", "call.ended")
    assert (second.headers["x-own"], second.headers["traceparent"]) == ("kept", "t")
    told = ours(second)
    assert (told["attempt"], told["last-error"], told["account"]) == (2, "not yet", "default")
    assert told["first-attempt-at"][:16] == told["received-at"][:16]
    assert "attempt" not in ours(first)
    assert note.routing_key == "call.noted.default.retried"
    assert (note.body, note.correlation_id, ours(note)["tier"], ours(note)["queue"]) == (b"", "id", "2s", QUEUE)
    assert await count(amqp_url, QUEUE) == 0


async def test_a_message_survives_many_trips_through_a_tier_with_a_history_that_begins_anew_each_time(
    amqp_url: str,
) -> None:
    async with consuming(amqp_url, *(Retry("again", after=1) for _ in range(4)), tiers="1") as (script, _, _):
        await put(amqp_url, b"in")
        await eventually(lambda: len(script.heard) == 5)

    assert [ours(delivery).get("attempt", 1) for delivery in script.heard] == [1, 2, 3, 4, 5]
    assert len({ours(delivery)["first-attempt-at"] for delivery in script.heard[1:]}) == 1
    for delivery in script.heard[1:]:
        assert [(death["queue"], death["count"]) for death in delivery.headers["x-death"]] == [(TIER, 1)]
    assert await count(amqp_url, QUEUE) == 0


async def test_a_hold_comes_back_without_an_attempt_counted(amqp_url: str) -> None:
    async with consuming(amqp_url, Hold("the API is down"), Hold("still")) as (script, _, _):
        await put(amqp_url, b"in", headers={"x-aftercall-attempt": 4})
        await eventually(lambda: len(script.heard) == 3)
        note = await take(amqp_url, LEDGER)

    assert [ours(delivery)["attempt"] for delivery in script.heard] == [4, 4, 4]
    assert ours(script.heard[2])["last-error"] == "still"
    assert note.routing_key == "call.noted.default.held"


async def test_what_goes_out_first_is_there_before_the_copy_that_waits(amqp_url: str) -> None:
    later = Retry("more to come", after=1, first=(emission(b"first"),), remember={"x-aftercall-version": 1})
    async with consuming(amqp_url, later, later) as (script, _, _):
        async with by_hand(amqp_url) as channel:
            await channel.exchange_delete(TIER)  # so that the copy fails at first
        await put(amqp_url, b"in")
        assert (await take(amqp_url, LEDGER)).body == b"first"
        await eventually(lambda: len(script.heard) >= 2)

    assert ours(script.heard[-1]).get("version") == 1


async def test_a_rejected_message_is_a_dead_letter_whole_and_with_its_story(amqp_url: str) -> None:
    async with consuming(amqp_url, Reject("no such customer")):
        await put(amqp_url, b"\xff\x00", headers={"x-own": 7}, correlation_id="id", content_encoding="odd", type="t")
        letter = await take(amqp_url, DEAD)
        note = await take(amqp_url, LEDGER)

    assert (letter.body, letter.content_encoding, letter.correlation_id, letter.type) == (b"\xff\x00", "odd", "id", "t")
    assert letter.headers["x-own"] == 7
    told = ours(letter)
    assert (told["queue"], told["reason"], told["detail"]) == (QUEUE, "rejected", "no such customer")
    assert (told["error-type"], told["attempt"]) == ("Reject", 1)
    assert told["died-at"] >= told["first-attempt-at"]
    assert note.routing_key == "call.noted.default.dead"
    assert await count(amqp_url, QUEUE) == 0


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"\xff\xfe no JSON \x00", None),
        (b"", None),
        (b'{"message": {"type": "status-update"}}', None),
        (b"not gzip", "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip"),
        (b"{}", "br"),
        (b"[" * 100_000, None),
    ],
)
async def test_what_is_no_notification_is_a_dead_letter_byte_for_byte(
    amqp_url: str, body: bytes, encoding: str | None
) -> None:
    async def read(delivery: Delivery) -> Answer:
        read_notification(delivery, 0)
        return ()

    async with consuming(amqp_url, read):
        await put(amqp_url, body, content_encoding=encoding)
        letter = await take(amqp_url, DEAD)

    assert (letter.body, letter.content_encoding or None) == (body, encoding)
    assert (ours(letter)["reason"], ours(letter)["error-type"]) == ("undecodable", "Undecodable")
    assert await count(amqp_url, QUEUE) == 0


@pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), asyncio.CancelledError("from within"), SystemError("odd")])
async def test_an_error_nobody_foresaw_is_tried_again_and_then_a_dead_letter_with_its_traceback(
    amqp_url: str, bug: BaseException
) -> None:
    async with consuming(amqp_url, bug, bug, tiers="1") as (script, _, _):
        await put(amqp_url, b"in")
        letter = await take(amqp_url, DEAD)
        await put(amqp_url, b"next")
        await eventually(lambda: script.heard[-1].body == b"next")

    told = ours(letter)
    assert (told["reason"], told["attempt"]) == ("error", 2)
    assert str(bug) in told["detail"]
    assert "Traceback" in told["detail"]
    assert await count(amqp_url, QUEUE) == 0


async def test_after_the_time_to_give_up_a_retry_is_a_dead_letter(amqp_url: str) -> None:
    async with consuming(amqp_url, Retry("not final yet"), give_up_after_s=60):
        await put(amqp_url, b"in", headers={"x-aftercall-first-attempt-at": "2020-01-01T00:00:00Z"})
        told = ours(await take(amqp_url, DEAD))

    assert (told["reason"], told["detail"]) == ("gave-up", "not final yet")
    assert told["first-attempt-at"].startswith("2020-01-01T00:00:00")


class Raw(str):
    """Text whose bytes are no UTF-8, as clients in other languages send it."""

    __slots__ = ()

    def encode(self, _encoding: str = "", _errors: str = "") -> bytes:
        return b"\xff\xfe"


GARBAGE: dict[str, Any] = {
    "x-aftercall-attempt": "many",
    "x-aftercall-version": [1, {"a": None}],
    "x-aftercall-received-at": 7,
    "x-aftercall-first-attempt-at": "yesterday",
    "x-aftercall-account": None,
    "x-aftercall-missing": True,
    "x-death": "of somebody else",
    "x-delivery-count": "many",
    "traceparent": 1.5,
    "ce-id": bytearray(b"\x00"),
}


@pytest.mark.parametrize(
    "headers", [{}, GARBAGE, {"x-odd": Raw("?"), "deep": {"in": [Raw("?")]}}, {"k" * 127: Raw("?")}]
)
async def test_headers_that_are_missing_or_make_no_sense_are_no_obstacle(
    amqp_url: str, headers: dict[str, Any]
) -> None:
    async with consuming(amqp_url, Retry("again", after=1), Reject("enough")) as (script, _, _):
        await put(amqp_url, b"in", headers=headers)
        letter = await take(amqp_url, DEAD)

    assert [ours(delivery).get("attempt") for delivery in script.heard][1:] == [2]
    assert letter.body == b"in"
    assert ours(letter)["attempt"] == 2
    assert await count(amqp_url, QUEUE) == 0


async def test_what_even_settling_fails_at_is_left_to_the_broker_to_dead_letter(amqp_url: str) -> None:
    misused: Any = Retry("again", first=3)  # type: ignore[arg-type]
    async with consuming(amqp_url, misused, prefetch=1) as (script, _, _):
        await put(amqp_url, b"in", b"next")
        assert (await take(amqp_url, DEAD)).body == b"in"
        await eventually(lambda: script.heard[-1].body == b"next")
    assert await count(amqp_url, QUEUE) == 0


async def test_a_consumer_that_hangs_is_cut_off_and_its_delivery_tried_again(amqp_url: str) -> None:
    async with consuming(amqp_url, forever, handle_max_s=0.2) as (script, _, _):
        await put(amqp_url, b"in")
        await eventually(lambda: len(script.heard) == 2)

    assert ours(script.heard[1])["last-error"] == "TimeoutError: the consumer took longer than 0.2 s"


async def test_a_time_out_of_the_consumers_own_is_told_in_its_own_words(amqp_url: str) -> None:
    async with consuming(amqp_url, TimeoutError("the CRM is slow")) as (script, _, _):
        await put(amqp_url, b"in")
        await eventually(lambda: len(script.heard) == 2)

    assert ours(script.heard[1])["last-error"] == "TimeoutError: the CRM is slow"


async def test_an_output_larger_than_the_broker_takes_makes_a_dead_letter(amqp_url: str) -> None:
    too_large = Retry("more to come", first=(emission(b"x" * 200),))
    async with consuming(amqp_url, (emission(b"x" * 101),), too_large) as (_, _, publisher):
        publisher.session.max_message_bytes = 100
        await put(amqp_url, b"one", b"two")
        letters = [await take(amqp_url, DEAD) for _ in range(2)]

    assert {letter.body for letter in letters} == {b"one", b"two"}
    assert {ours(letter)["reason"] for letter in letters} == {"too-large"}
    assert await count(amqp_url, QUEUE) == 0


@pytest.mark.parametrize("value", [2**70, "\ud83d", object()])
async def test_an_output_that_amqp_cannot_carry_counts_as_a_bug_of_its_consumer(amqp_url: str, value: Any) -> None:
    odd = (emission(headers={"x-odd": value}),)
    async with consuming(amqp_url, odd, odd, tiers="1"):
        await put(amqp_url, b"in")
        told = ours(await take(amqp_url, DEAD))

    assert (told["reason"], told["attempt"]) == ("error", 2)
    assert await count(amqp_url, QUEUE) == 0


async def test_a_reason_with_half_a_character_in_it_does_not_keep_a_message_from_the_dead_letters(
    amqp_url: str,
) -> None:
    async with consuming(amqp_url, Reject("cut \ud83d"), ValueError("cut \ud83d"), prefetch=1) as (script, _, _):
        await put(amqp_url, b"one", b"two")
        assert (await take(amqp_url, DEAD)).body == b"one"
        await eventually(lambda: len(script.heard) == 3)

    assert ours(script.heard[2])["last-error"].startswith("ValueError: cut ")


async def test_an_output_that_nobody_is_bound_to_lies_with_the_unrouted(amqp_url: str) -> None:
    async with consuming(amqp_url, (emission(b"homeless", routing_key="call.ended.nobody"),)):
        await put(amqp_url, b"in")
        assert (await take(amqp_url, "calls.unrouted")).body == b"homeless"
    assert await count(amqp_url, QUEUE) == 0
