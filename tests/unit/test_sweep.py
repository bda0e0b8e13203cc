import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.messages import identify
from consumers.sweep import Slice, ended_calls, report_of
from consumers.timestamps import iso
from worker.ingress.sweep import LIMIT, _slices

NOW = 1_790_000_000.0


def listed(call_id: str, *, ended_at: float = NOW - 1000, **fields: Any) -> dict[str, Any]:
    return {"id": call_id, "status": "ended", "endedAt": iso(ended_at), "updatedAt": iso(ended_at), **fields}


class Vapi:
    """Lists like Vapi: newest first, no more than the limit, whatever the slice holds."""

    def __init__(self, updates: list[float]) -> None:
        self.updates = updates
        self.asked: list[Slice] = []

    async def list_calls(self, part: Slice, limit: int) -> list[Any]:
        self.asked.append(part)
        held = sorted((at for at in self.updates if part.since <= at < part.until), reverse=True)
        return held[:limit]


@given(
    st.lists(st.integers(min_value=0, max_value=86_399_999).map(lambda ms: ms / 1000), max_size=600),
    st.integers(min_value=0, max_value=86_399_000),
)
async def test_every_listed_call_is_seen_once_however_they_crowd(spread: list[float], crowd_at_ms: int) -> None:
    crowd = [(crowd_at_ms + nth) / 1000 for nth in range(0, 900, 3)]
    vapi = Vapi(spread + crowd)

    seen = [at async for _part, calls in _slices(vapi.list_calls, Slice(0.0, 86_400.0)) for at in calls]

    assert sorted(seen) == sorted(vapi.updates)


async def test_more_calls_in_one_millisecond_than_the_limit_do_not_hang_the_sweep() -> None:
    vapi = Vapi([50.0] * (LIMIT + 20))

    seen = [at async for _part, calls in _slices(vapi.list_calls, Slice(0.0, 100.0)) for at in calls]

    assert len(seen) == LIMIT + 20
    assert len(vapi.asked) < 80


async def test_slices_follow_each_other_without_a_gap_to_the_end() -> None:
    vapi = Vapi([nth / 7 for nth in range(5000)])

    parts = [part async for part, _calls in _slices(vapi.list_calls, Slice(0.0, 7200.123))]

    assert parts[0].since == 0.0
    assert parts[-1].until == 7200.123
    assert all(one.until == other.since for one, other in pairwise(parts))


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
    assert [call.id for call in ended_calls([rubbish, listed("good")], before=NOW)] == ["good"]


def test_a_call_that_ended_within_the_grace_is_left_for_the_next_sweep() -> None:
    calls = [listed("old", ended_at=NOW - 121), listed("young", ended_at=NOW - 119)]

    assert [call.id for call in ended_calls(calls, before=NOW - 120)] == ["old"]


def test_a_call_without_an_end_counts_from_its_last_update() -> None:
    call = listed("a") | {"endedAt": None}

    assert [found.ended_at for found in ended_calls([call], before=NOW)] == [NOW - 1000]


def test_the_report_of_a_listed_call_has_the_shape_of_a_webhook() -> None:
    call = listed("a1", orgId="o", cost=0.5, artifact={"transcript": "AI: hello"}, endedReason="customer-ended-call")
    (found,) = ended_calls([call], before=NOW)

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
    (found,) = ended_calls([listed("deep", metadata=deep)], before=NOW)

    assert identify(report_of(found)).call_id == "deep"
