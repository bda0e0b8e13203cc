import json
import math
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.enrich import CallUnreadable
from consumers.messages import identify
from consumers.slices import MOST, PAGE_BYTES, Pace, Slice
from consumers.sweep import KEPT_BY_VAPI_S, ListedCall, ended_calls, judge, read_list, report_of, watermark_at
from consumers.timestamps import iso
from worker.ingress.listing import slices

NOW = 1_790_000_000.0
LIMIT = Pace().limit


def listed(call_id: str, *, ended_at: float = NOW - 1000, **fields: Any) -> dict[str, Any]:
    return {"id": call_id, "status": "ended", "endedAt": iso(ended_at), "updatedAt": iso(ended_at), **fields}


def ended(*calls: Any, before: float = NOW) -> list[ListedCall]:
    return list(ended_calls(read_list(json.dumps(calls).encode()), before=before))


class Vapi:
    """Lists like Vapi: newest first, no more than the limit, whatever the slice holds; a call is its time, padded.

    What is larger than `most_bytes` never comes through.
    """

    def __init__(self, updates: list[float], call_bytes: int = 0, most_bytes: float = math.inf) -> None:
        self.updates = updates
        self.call_bytes = call_bytes
        self.most_bytes = most_bytes
        self.asked: list[Slice] = []
        self.heaviest_bytes = 0

    async def list_calls(self, part: Slice, limit: int) -> bytes:
        self.asked.append(part)
        held = sorted((at for at in self.updates if part.since <= at < part.until), reverse=True)
        body = b"[%b]" % b",".join(b"%r" % at + b" " * self.call_bytes for at in held[:limit])
        self.heaviest_bytes = max(self.heaviest_bytes, len(body))
        if len(body) > self.most_bytes:
            raise CallUnreadable("Vapi's answer is larger than it may be")
        return body

    async def seen(self, whole: Slice) -> list[float]:
        return [float(bytes(call)) async for _part, calls in slices(self.list_calls, whole) for call in calls]


# Slices


@given(
    st.lists(st.integers(min_value=0, max_value=86_399_999).map(lambda ms: ms / 1000), max_size=600),
    st.integers(min_value=0, max_value=86_399_000),
)
async def test_every_listed_call_is_seen_once_however_they_crowd(spread: list[float], crowd_at_ms: int) -> None:
    crowd = [(crowd_at_ms + nth) / 1000 for nth in range(0, 900, 3)]
    vapi = Vapi(spread + crowd)

    assert sorted(await vapi.seen(Slice(0.0, 86_400.0))) == sorted(vapi.updates)


async def test_more_calls_in_one_millisecond_than_the_limit_do_not_hang_the_sweep() -> None:
    vapi = Vapi([50.0] * (LIMIT + 20))

    assert len(await vapi.seen(Slice(0.0, 100.0))) == LIMIT + 20
    assert len(vapi.asked) < 80


async def test_slices_follow_each_other_without_a_gap_to_the_end() -> None:
    vapi = Vapi([nth / 7 for nth in range(5000)])

    parts = [part async for part, _calls in slices(vapi.list_calls, Slice(0.0, 7200.123))]

    assert parts[0].since == 0.0
    assert parts[-1].until == 7200.123
    assert all(one.until == other.since for one, other in pairwise(parts))


@pytest.mark.parametrize(
    ("calls", "call_bytes", "requests_max"), [(5000, 2_000, 30), (5000, 40_000, 60), (500, 400_000, 60)]
)
async def test_answers_are_about_equally_heavy_and_few_are_asked_for_in_vain(
    calls: int, call_bytes: int, requests_max: int
) -> None:
    vapi = Vapi([nth / 10 for nth in range(calls)], call_bytes)

    assert sorted(await vapi.seen(Slice(0.0, 500.0))) == vapi.updates

    assert vapi.heaviest_bytes < max(PAGE_BYTES, LIMIT * (call_bytes + 20))
    assert len(vapi.asked) < requests_max


async def test_an_answer_that_is_too_large_to_come_through_is_asked_for_in_halves() -> None:
    vapi = Vapi([nth / 10 for nth in range(1000)], call_bytes=1000, most_bytes=20_000)

    assert sorted(await vapi.seen(Slice(0.0, 100.0))) == vapi.updates


async def test_an_answer_that_never_comes_through_ends_the_sweep_after_the_shortest_slice() -> None:
    vapi = Vapi([50.0], call_bytes=1000, most_bytes=1000)

    with pytest.raises(CallUnreadable):
        await vapi.seen(Slice(0.0, 100.0))
    assert vapi.asked[-1].is_shortest


@given(
    length_s=st.floats(0.001, 3600),
    limit=st.integers(10, MOST),
    calls=st.integers(0, MOST),
    call_bytes=st.integers(2, 2**20),
)
def test_the_pace_stays_within_what_vapi_and_memory_allow(
    length_s: float, limit: int, calls: int, call_bytes: int
) -> None:
    pace = Pace(length_s, limit).after(Slice(0.0, length_s), calls, 2 + calls * call_bytes)

    assert 0 < pace.length_s <= 3600
    assert 10 <= pace.limit <= MOST
    assert pace.limit in (limit, 10) or pace.limit * call_bytes <= PAGE_BYTES


# Reading the list


@pytest.mark.parametrize(
    "rubbish",
    [
        None,
        "call",
        [],
        {},
        {"status": "ended"},
        {"id": 5, "status": "ended", "endedAt": iso(NOW)},
        {"id": "a", "status": "ended"},
        {"id": "a", "status": "in-progress", "endedAt": iso(NOW - 1000)},
        {"id": "a" * 200, "status": "ended", "endedAt": iso(NOW - 1000)},
    ],
)
def test_what_is_no_ended_call_is_passed_over(rubbish: Any) -> None:
    assert [call.id for call in ended(rubbish, listed("good"))] == ["good"]


@pytest.mark.parametrize(
    "odd",
    [
        b'{"x": "\\ud83d"}',
        b'{"x": "\\\\\\ud83d"}',
        b'{"x": NaN}',
        b'{"x": "\x01"}'.replace(b"\x01", b"\xff"),
        b'{"endedAt": 1e999, "status": "\\ude00"}',
        b'{"id": {"id": ["a"]}}',
    ],
)
def test_what_fast_parsers_refuse_spoils_no_other_call(odd: bytes) -> None:
    good = orjson.dumps(listed("good", name="\N{GRINNING FACE}"))

    for body in (b"[%b,%b]" % (odd, good), b"\xef\xbb\xbf[%b, %b]" % (good, odd)):
        (found,) = ended_calls(read_list(body), before=NOW)
        assert found.id == "good"
        assert json.loads(report_of(found))["message"]["call"]["name"] == "\N{GRINNING FACE}"


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b"null", b"<html>", b"[" * 1_000_000 + b"]" * 1_000_000])
def test_what_is_no_list_is_unreadable(body: bytes) -> None:
    with pytest.raises(CallUnreadable):
        read_list(body)


def test_a_call_that_ended_within_the_grace_is_left_for_the_next_sweep() -> None:
    calls = [listed("old", ended_at=NOW - 121), listed("young", ended_at=NOW - 119)]

    assert [call.id for call in ended(*calls, before=NOW - 120)] == ["old"]


def test_a_call_without_an_end_counts_from_its_last_update() -> None:
    call = listed("a") | {"endedAt": None}

    assert [found.ended_at for found in ended(call)] == [NOW - 1000]


def test_the_report_of_a_listed_call_has_the_shape_of_a_webhook() -> None:
    (found,) = ended(
        listed("a1", orgId="o", cost=0.5, artifact={"transcript": "AI: hello"}, endedReason="customer-ended-call")
    )

    report = json.loads(report_of(found))

    assert identify(report_of(found)).call_id == "a1"
    assert report["message"]["call"] == {"id": "a1", "orgId": "o"}
    assert report["message"]["artifact"] == {"transcript": "AI: hello"}
    assert report["message"]["cost"] == 0.5
    assert "status" not in report["message"]


def test_a_listed_call_that_nests_deeper_than_a_fast_writer_goes_is_reported_all_the_same() -> None:
    deep: Any = "end"
    for _ in range(300):
        deep = [deep]
    (found,) = ended(listed("deep", metadata=deep))

    assert identify(report_of(found)).call_id == "deep"


# What is left to be done, and how far the sweep is


def test_what_nothing_accounts_for_is_missing_earliest_first() -> None:
    calls = ended(
        *(listed(call_id, ended_at=NOW - age_s) for call_id, age_s in zip("abcd", (10, 40, 30, 20), strict=True))
    )

    judgement = judge(calls, {"a": "settled", "c": "on its way"})

    assert [call.id for call in judgement.missing] == ["b", "d"]


@pytest.mark.parametrize(
    ("first", "unsettled_since"), [("settled", math.inf), ("on its way", NOW - 40), (None, NOW - 40)]
)
def test_only_what_is_settled_is_left_behind(first: Any, unsettled_since: float) -> None:
    calls = ended(listed("a", ended_at=NOW - 40), listed("b", ended_at=NOW - 30))
    standings = {"a": first, "b": "settled"} if first else {"b": "settled"}

    assert judge(calls, standings).unsettled_since == unsettled_since


@pytest.mark.parametrize(
    ("looked_until", "unsettled_since", "watermark"),
    [
        (NOW - 120, math.inf, NOW - 120),
        (NOW - 120, NOW - 3600, NOW - 3600),
        (NOW - 120, NOW - KEPT_BY_VAPI_S - 1, NOW - KEPT_BY_VAPI_S),
        (NOW - 30 * 86400, NOW - 31 * 86400, NOW - 30 * 86400),
        (NOW - 30 * 86400, math.inf, NOW - 30 * 86400),
    ],
)
def test_the_watermark_stays_before_what_is_not_settled_as_long_as_vapi_keeps_it(
    looked_until: float, unsettled_since: float, watermark: float
) -> None:
    assert watermark_at(looked_until, unsettled_since, NOW) == watermark
