"""What is found in the archive, on SQLite and on PostgreSQL: by words, and by what people ask of calls."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest

from consumers.postcall import WantedCalls, spellings_of
from consumers.timestamps import instant
from consumers.words import terms_of
from tests.integration.archived import NOW, found, opened, row
from worker.clients.archive.archive import Archive

SAID = {
    "refund": "AI: Hello, this is Maya. User: I'd like a refund; your refund-policy says 30 days. AI: Of course!",
    "policy": "User: What is your policy on pets? AI: No REFUNDS for pets. Mail us at help@example.com.",
    "accents": "User: Me llamo José Ñuñez, c'est déjà Noël à Zürich. AI: Ёлка 한국어.",
    "number": "User: Call me at +1 503-555-0167, it costs $3.50. See https://example.com/pets_only today.",
    "nothing": "",
}


@pytest.fixture
async def archive(archive_url: str) -> AsyncIterator[Archive]:
    async with opened(archive_url) as archive:
        yield archive


@pytest.fixture
async def spoken(archive: Archive) -> Archive:
    for call_id, transcript in SAID.items():
        summary = {"summary": f"It was about {call_id}s."}
        await archive.save(row(call_id=call_id, call={"artifact": {"transcript": transcript}, "analysis": summary}))
    return archive


async def ids(archive: Archive, words: str) -> set[str]:
    return {each.call_id for each in await found(archive, terms=terms_of(words))}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("refund", {"refund"}),
        ("refund*", {"refund", "policy"}),
        ("Refund POLICY", {"refund"}),
        ('"refund policy"', {"refund"}),
        ('"policy refund"', set()),
        ('"your pol"*', {"policy"}),
        ("policy -pets", {"refund"}),
        ('policy -"refunds for pets"', {"refund"}),
        ("policy -refund -refunds", set()),
        ("jose nunez", {"accents"}),
        ("JOSÉ ñuñez deja zurich", {"accents"}),
        ("한국어", {"accents"}),
        ("555", {"number"}),
        ("503-555-0167", {"number"}),
        ("3.50", {"number"}),
        ("pets", {"policy", "number"}),
        ("example", {"policy", "number"}),
        ("help@example.com", {"policy"}),
        ("accentss", {"accents"}),
        ("absent", set()),
        ("refund & policy | !x <-> 'y' :* NEAR( AND", set()),
    ],
)
async def test_what_was_said_is_found(spoken: Archive, words: str, expected: set[str]) -> None:
    assert await ids(spoken, words) == expected


async def test_after_an_amendment_its_words_are_found_and_the_old_ones_no_more(archive: Archive) -> None:
    for version, said in ((1, "the first words"), (2, "the second thought")):
        await archive.save(row(call_id="c", version=version, call={"artifact": {"transcript": said}}))

    assert await ids(archive, "words") == set()
    assert await ids(archive, "thought") == {"c"}


async def test_what_was_deleted_is_found_no_more_and_the_index_is_in_step(archive: Archive, archive_url: str) -> None:
    for call_id, at in (("old", "2026-01-01T00:00:00Z"), ("young", "2027-01-15T00:00:00Z")):
        for version in (1, 2):
            said = {"transcript": f"needle {version}"}
            await archive.save(row(call_id=call_id, version=version, call={"endedAt": at, "artifact": said}))
    assert await ids(archive, "needle") == {"old", "young"}

    await archive.prune({}, 86400.0, NOW)

    assert await ids(archive, "needle") == {"young"}
    if archive_url.startswith("sqlite"):
        check_index(archive_url.removeprefix("sqlite:///"))


def check_index(path: str) -> None:
    """FTS5's own comparison of the index with the texts; it raises if they differ."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO aftercall_calls_words (aftercall_calls_words, rank) VALUES ('integrity-check', 1)"
        )


# By what people ask


def call(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "type": "inboundPhoneCall",
        "assistantId": f"assistant-{number % 2}",
        "startedAt": "2026-08-31T17:00:00.000Z",
        "endedAt": f"2026-08-31T17:0{number}:00.000Z",
        "cost": number / 10,
        "customer": {"number": f"+1503555000{number}"},
        "phoneNumber": {"number": "+15035559999"},
    } | changes


@pytest.fixture
async def four(archive: Archive) -> Archive:
    await archive.save(row(call_id="c1", call=call(1)))
    await archive.save(row(call_id="c2", call=call(2, type="outboundPhoneCall"), account="acme"))
    failed = {"result": "failed", "reason": "pipeline-error", "endedReason": "pipeline-error-x"}
    await archive.save(row(call_id="c3", call=call(3, phoneNumber=None), outcome=failed))
    await archive.save(row(call_id="c4", call={"endedAt": "2026-08-31T17:04:00.000Z"}))
    return archive


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["c1", "c2", "c3", "c4"]),
        ({"accounts": ("acme",)}, ["c2"]),
        ({"accounts": ("acme", "default")}, ["c1", "c2", "c3", "c4"]),
        ({"call_ids": ("c1", "c3", "x")}, ["c1", "c3"]),
        ({"results": ("failed",)}, ["c3"]),
        ({"reasons": ("pipeline-error",)}, ["c3"]),
        ({"directions": ("inbound",)}, ["c1", "c3"]),
        ({"assistants": ("assistant-0",)}, ["c2"]),
        ({"since": instant("2026-08-31T17:02:00Z")}, ["c2", "c3", "c4"]),
        ({"until": instant("2026-08-31T17:02:00Z")}, ["c1"]),
        ({"since": -1e15, "until": 1e15}, ["c1", "c2", "c3", "c4"]),
        ({"min_cost": 0.2}, ["c2", "c3"]),
        ({"max_cost": 0.2}, ["c1", "c2"]),
        ({"min_duration_s": 120.0, "max_duration_s": 150.0}, ["c2"]),
        ({"numbers": spellings_of("1 503 555 0003")}, ["c3"]),
        ({"numbers": spellings_of("+15035559999")}, ["c1", "c2"]),
        ({"accounts": ("default",), "min_cost": 0.2}, ["c3"]),
    ],
)
async def test_calls_are_chosen_by_what_people_ask_of_them(
    four: Archive, asked: dict[str, Any], expected: list[str]
) -> None:
    assert [each.call_id for each in await found(four, **asked)] == expected
    assert sum((await four.counts(WantedCalls(**asked))).values()) == len(expected)


async def test_counts_tell_of_each_account_and_result(four: Archive) -> None:
    assert await four.counts(WantedCalls()) == {
        ("default", "completed"): 2,
        ("default", "failed"): 1,
        ("acme", "completed"): 1,
    }
