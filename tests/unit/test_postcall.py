from collections.abc import Sequence
from functools import reduce
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumers.enriched import EnrichedCall, decode_call
from consumers.messages import Delivery
from consumers.outcomes import DatabaseAway, Undecodable
from consumers.postcall import LARGEST, CallRow, body_of, keep, row_of, spellings_of
from consumers.replays import replay_of_call
from tests.unit.builders import CALL_ID, OBJECTS, archivable, enriched_call, fetched

NOW = 1_800_000_000.0
AT = ("2026-08-31T17:06:01.000Z", "2026-08-31T17:16:01.000Z", None)


def delivered(call: EnrichedCall) -> Delivery:
    return archivable(call, NOW)


def row(**changes: Any) -> CallRow:
    return row_of(delivered(enriched_call(**changes)), NOW)


# What a row has


def test_a_row_has_what_people_ask_for() -> None:
    told = row(call=fetched())
    assert (told.account, told.call_id, told.version, told.complete) == ("default", CALL_ID, 1, True)
    assert (told.result, told.reason, told.ended_reason) == ("completed", "customer-ended", "customer-ended-call")
    assert (told.direction, told.customer_number, told.cost) == ("outbound", "+15035550167", 0.1845)
    assert (told.started_at, told.ended_at) == ("2026-08-31T17:04:25.612Z", "2026-08-31T17:05:55.477Z")
    assert (told.fetched_at, told.archived_at) == ("2026-08-31T17:06:01.000Z", "2027-01-15T08:00:00.000Z")
    assert orjson.loads(told.structured_data or "")["outcome"] == "rescheduled"
    assert {output["name"] for output in orjson.loads(told.structured_outputs or "").values()} == {
        "Call summary",
        "QA checklist",
    }
    assert told.event_id.startswith(f"default/{CALL_ID}/")


def test_the_whole_call_is_kept_as_it_came() -> None:
    call = enriched_call(call=fetched())
    assert decode_call(body_of(row_of(delivered(call), NOW))) == call


def test_a_body_that_travelled_gzipped_is_kept_as_it_is() -> None:
    large = delivered(enriched_call(call={"id": CALL_ID, "artifact": {"transcript": "word " * 300_000}}))
    assert large.content_encoding == "gzip"
    told = row_of(large, NOW)
    assert told.body is large.body
    assert len(told.transcript or "") == 1_500_000


def test_a_call_of_which_nearly_nothing_is_known_is_a_row_too() -> None:
    told = row(call={}, missing=["api"], complete=False)
    assert (told.customer_number, told.duration_s, told.transcript, told.structured_data) == (None,) * 4
    assert told.ended_at == "2026-08-31T17:05:55.477Z"
    assert told.missing == ("api",)


def test_a_call_that_does_not_say_when_it_ended_counts_from_its_archiving() -> None:
    timeline = {"endedAt": "some day", "receivedAt": "", "fetchedAt": None, "emittedAt": "", "attempts": 1}
    told = row(call={"endedAt": "yesterday"}, timeline=timeline)
    assert told.ended_at == told.archived_at
    assert told.received_at is None


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "soon", 7])
def test_a_time_at_which_no_call_can_have_been_is_none(at: object) -> None:
    assert row(call={"startedAt": at, "endedAt": at}).started_at is None


def test_what_no_database_holds_is_replaced() -> None:
    call = {
        "customer": {"name": "a\0b" + "c" * 1000, "number": "+1\0"},
        "analysis": {"summary": "\0", "structuredData": {"k\0": ["\0", {"x": "\\u0000"}]}},
        "cost": 2**63,
        "artifact": {"performanceMetrics": {"numUserInterrupted": 1e300}},
    }
    told = row(call=call)
    assert (told.customer_number, told.summary) == ("+1�", "�")
    assert len(told.customer_name or "") == 500
    assert orjson.loads(told.structured_data or "") == {"k�": ["�", {"x": "\\u0000"}]}
    assert (told.cost, told.customer_interrupted) == (LARGEST, LARGEST)
    assert decode_call(body_of(told)).call == call, "the whole call is as it came"


def test_half_an_emoji_is_replaced() -> None:
    cut = delivered(enriched_call(call={"analysis": {"summary": "PLACE"}}))
    cut = replace(cut, body=cut.body.replace(b"PLACE", rb"cut \ud83d"), headers={})
    assert row_of(cut, NOW).summary == "cut �"


def test_what_is_no_enriched_call_is_undecodable() -> None:
    with pytest.raises(Undecodable):
        row_of(Delivery(queue="calls.postcall", body=b'{"x": 0}'), NOW)


@given(call=OBJECTS, artifact=OBJECTS, analysis=OBJECTS, customer=OBJECTS)
def test_a_row_is_made_of_any_call_and_fits_any_database(
    call: dict[str, Any], artifact: dict[str, Any], analysis: dict[str, Any], customer: dict[str, Any]
) -> None:
    told = row(call=call | {"artifact": artifact, "analysis": analysis, "customer": customer, "cost": call})
    for name in told.__struct_fields__:
        value = getattr(told, name)
        assert not isinstance(value, str) or "\0" not in value
        assert value is None or isinstance(value, str | int | float | bytes | tuple)


# Which event stays


def after(rows: Sequence[CallRow]) -> CallRow:
    """What an archive has after rows came in this order."""
    return reduce(lambda kept, came: came if came.rank > kept.rank else kept, rows)


EVENTS = st.builds(
    lambda version, complete, source, at, summary: row(
        version=version,
        complete=complete,
        provenance={"source": source, "fromWebhook": [], "redacted": []},
        timeline={**TIMELINE, "fetchedAt": at},
        call={"analysis": {"summary": summary}},
    ),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from(["api", "webhook", "both"]),
    st.sampled_from(AT),
    st.sampled_from(["a", "b"]),
)
TIMELINE = {"endedAt": AT[0], "receivedAt": AT[0], "emittedAt": AT[0], "attempts": 1}


@given(st.lists(EVENTS, min_size=1, max_size=6), st.randoms())
def test_the_events_of_a_call_end_in_the_same_row_in_whatever_order_and_however_often_they_come(
    events: list[CallRow], rng: Any
) -> None:
    shuffled = [*events, *events[:2]]
    rng.shuffle(shuffled)
    assert after(shuffled) == after(events)


def test_complete_wins_over_both_sources_and_those_over_a_later_fetch() -> None:
    def event(complete: bool, source: str, at: str | None, version: int) -> CallRow:
        provenance = {"source": source, "fromWebhook": [], "redacted": []}
        return row(complete=complete, provenance=provenance, timeline={**TIMELINE, "fetchedAt": at}, version=version)

    growing = [
        event(False, "webhook", None, 1),
        event(False, "webhook", None, 2),
        event(False, "api", AT[1], 1),
        event(False, "both", AT[0], 1),
        event(True, "api", AT[0], 1),
        event(True, "both", AT[0], 1),
        event(True, "both", AT[1], 1),
        event(True, "both", AT[1], 11),
    ]
    assert growing == sorted(growing, key=lambda each: each.rank)


def test_an_archive_that_is_sent_its_own_replay_keeps_what_it_has() -> None:
    call = enriched_call()
    message = replay_of_call(call, "calls.postcall", "ab12", NOW + 60, {})
    again = Delivery(queue="calls.postcall", body=message.body, headers=message.headers)
    assert row_of(again, NOW) == row_of(delivered(call), NOW)


# Keeping


async def test_keeping_saves_the_row_and_says_nothing() -> None:
    saved: list[CallRow] = []

    async def save(given: CallRow) -> None:
        saved.append(given)

    assert await keep(delivered(enriched_call()), NOW, save=save) == ()
    assert [each.call_id for each in saved] == [CALL_ID]


async def test_a_database_away_is_told_as_it_is() -> None:
    async def save(_row: CallRow) -> None:
        raise DatabaseAway("the disk is full")

    with pytest.raises(DatabaseAway):
        await keep(delivered(enriched_call()), NOW, save=save)


def test_a_damaged_body_is_told_as_such() -> None:
    kept = row()
    for damaged in (b"{}", kept.body[:-9], kept.body[:50] + b"damage" + kept.body[56:]):
        with pytest.raises(ValueError, match="damaged"):
            body_of(replace(kept, body=damaged))


@pytest.mark.parametrize(
    ("number", "spellings"),
    [
        ("+15035550167", ("+15035550167", "15035550167")),
        ("+1 (503) 555-0167", ("+1 (503) 555-0167", "+15035550167", "15035550167")),
        ("sip:a@example.com", ("sip:a@example.com",)),
        (" ", ()),
    ],
)
def test_a_number_is_looked_for_however_it_is_written(number: str, spellings: tuple[str, ...]) -> None:
    assert spellings_of(number) == spellings
