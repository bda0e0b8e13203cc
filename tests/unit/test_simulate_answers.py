import re
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.simulate.account import Account, EndedCall, Stage
from worker.simulate.api.answers import answer_fetch, refuse
from worker.simulate.api.documents import Documents
from worker.simulate.api.listing import parse_listing
from worker.simulate.faults import CallFaults
from worker.simulate.script.outlines import iso, outline_call
from worker.simulate.send import Answer, BackoffPlan
from worker.simulate.webhooks import FORGED_REPORT, REPEATED_REPORT, REPORT, forge, plan_webhooks

ENDED_AT = 1_788_195_955.477


def ended(number: int = 1, faults: CallFaults | None = None, ended_at: float = ENDED_AT) -> EndedCall:
    return EndedCall(outline_call(1, number, ended_at, 20_000), faults or CallFaults(), ())


def answered_call(faults: CallFaults | None = None) -> EndedCall:
    calls = (ended(number, faults) for number in range(100))
    return next(
        c for c in calls if c.outline.ending.reason_class == "customer-ended" and not c.outline.is_zero_data_retention
    )


def test_a_clean_call_is_served_at_once() -> None:
    assert answer_fetch(ended(), ENDED_AT).status == 200


def test_a_call_that_is_gone_is_never_found() -> None:
    assert answer_fetch(ended(faults=CallFaults(is_gone=True)), ENDED_AT + 1e6).status == 404


def test_a_call_is_not_found_until_its_seconds_are_over() -> None:
    call = ended(faults=CallFaults(not_found_s=3))

    assert answer_fetch(call, ENDED_AT + 2).status == 404
    assert answer_fetch(call, ENDED_AT + 3.1).status == 200


def test_counted_faults_hit_the_first_fetches_one_after_the_other() -> None:
    call = ended(faults=CallFaults(rate_limits=2, server_errors=(521,), truncations=1))
    seen = []
    for call.served in range(6):
        answer = answer_fetch(call, ENDED_AT)
        seen.append((answer.status, answer.is_truncated))

    assert seen == [(429, False), (429, False), (521, False), (200, True), (200, False), (200, False)]


def test_a_late_call_passes_through_its_stages() -> None:
    call = answered_call(CallFaults(in_progress_s=1, unfinished_s=3))

    ages = {age_s: call.stage(ENDED_AT + age_s) for age_s in (0, 2, 4)}
    assert ages == {0: Stage.IN_PROGRESS, 2: Stage.UNFINISHED, 4: Stage.FINAL}


def test_a_late_call_is_first_in_progress_then_ended_without_cost_and_then_final() -> None:
    call, documents = answered_call(CallFaults(in_progress_s=1, unfinished_s=3)), Documents(10**6)
    early, unfinished, final = (orjson.loads(documents.serve(call, ENDED_AT + age_s)) for age_s in (0, 2, 4))

    assert early["status"] == "in-progress"
    assert "endedAt" not in early
    assert unfinished["status"] == final["status"] == "ended"
    assert not {"cost", "costs", "analysis", "recordingUrl"} & unfinished.keys()
    assert not any(name.startswith(("presigned", "recording")) for name in unfinished["artifact"])
    assert {"cost", "costs", "analysis", "recordingUrl"} <= final.keys()
    assert early["updatedAt"] < unfinished["updatedAt"] < final["updatedAt"]


def test_a_served_call_has_presigned_urls_that_no_other_answer_has() -> None:
    call, documents = answered_call(), Documents(10**6)
    first, second = (orjson.loads(documents.serve(call, ENDED_AT + age_s)) for age_s in (10, 20))

    assert first["artifact"]["presignedMonoUrl"] != second["artifact"]["presignedMonoUrl"]
    assert first["artifact"]["presignedUrlsExpiresAt"] < second["artifact"]["presignedUrlsExpiresAt"]


def test_what_is_kept_at_hand_is_bounded_and_changes_no_answer() -> None:
    roomy, tiny = Documents(10**9), Documents(1)
    for number in (1, 2, 3, 1):
        assert roomy.serve(ended(number), ENDED_AT) == tiny.serve(ended(number), ENDED_AT)


def test_refusals_of_vapi_are_json_and_those_of_cloudflare_are_pages() -> None:
    assert orjson.loads(refuse(401).text or "")["error"] == "Unauthorized"
    assert orjson.loads(refuse(500).text or "") == {"message": "Internal server error", "statusCode": 500}
    assert refuse(524).content_type == "text/html"
    assert refuse(429, retry_after_s=2).headers["Retry-After"] == "2"


def times_of(query: dict[str, str], calls: list[EndedCall]) -> list[int]:
    return [round(call.outline.ended_at - ENDED_AT) for call in parse_listing(query).choose(calls, ENDED_AT + 10**6)]


def test_the_list_is_newest_first_and_cut_at_its_limit() -> None:
    calls = [ended(1, ended_at=ENDED_AT + day * 86_400) for day in range(5)]

    assert times_of({"limit": "2"}, calls) == [4 * 86_400, 3 * 86_400]


@pytest.mark.parametrize(("how", "count"), [("Gt", 2), ("Ge", 3), ("Lt", 2), ("Le", 3)])
@pytest.mark.parametrize("name", ["createdAt", "updatedAt"])
def test_the_list_is_bounded_by_the_very_times_that_it_shows(name: str, how: str, count: int) -> None:
    calls = [ended(1, ended_at=ENDED_AT + day * 86_400) for day in range(5)]
    shown = orjson.loads(Documents(10**6).serve(calls[2], ENDED_AT + 10**6))[name]

    assert len(times_of({name + how: shown}, calls)) == count


def test_the_list_is_filtered_by_identities() -> None:
    calls = [ended(number) for number in range(50)]
    chosen = parse_listing({"id": calls[3].outline.id}).choose(calls, ENDED_AT)

    assert chosen == [calls[3]]
    assert parse_listing({"assistantId": "none"}).choose(calls, ENDED_AT) == []


def test_the_list_leaves_out_what_a_fetch_would_not_find() -> None:
    calls = [ended(1, CallFaults(is_gone=True)), ended(2, CallFaults(not_found_s=5)), ended(3)]

    assert parse_listing({}).choose(calls, ENDED_AT + 1) == [calls[2]]


@given(
    lates=st.lists(st.tuples(st.floats(0, 100), st.sampled_from([0.0, 7.0]), st.sampled_from([0.0, 9.0])), max_size=30),
    age_s=st.floats(0, 120),
    bounds=st.tuples(
        st.sampled_from(["Gt", "Ge"]), st.floats(-100, 120), st.sampled_from(["Lt", "Le"]), st.floats(0, 99)
    ),
)
def test_the_index_by_last_change_leaves_out_no_call_that_the_list_would_show(
    lates: list[tuple[float, float, float]], age_s: float, bounds: tuple[str, float, str, float]
) -> None:
    account, now = Account(), ENDED_AT + age_s
    for number, (at, in_progress_s, more_s) in enumerate(lates):
        faults = CallFaults(in_progress_s=in_progress_s, unfinished_s=in_progress_s + more_s)
        account.add(ended(number, faults, ENDED_AT + at))
    (after, since, before, length_s) = bounds
    query = {f"updatedAt{after}": iso(ENDED_AT + since), f"updatedAt{before}": iso(ENDED_AT + since + length_s)}
    listing = parse_listing(query)

    few = account.updated_between(*listing.updated_between, now)

    assert listing.choose(few, now) == listing.choose(account.calls.values(), now)


@pytest.mark.parametrize("query", [{"limit": "1001"}, {"limit": "many"}, {"createdAtGt": "yesterday"}])
def test_a_wrong_parameter_of_the_list_is_named(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(query))):
        parse_listing(query)


def test_times_without_a_zone_are_utc() -> None:
    bound = parse_listing({"createdAtGt": "2026-08-31T17:05:55"}).bounds[0][2]

    assert bound == datetime(2026, 8, 31, 17, 5, 55, tzinfo=UTC).timestamp()


def test_webhooks_are_planned_in_the_order_of_sending() -> None:
    assert plan_webhooks(CallFaults()) == (REPORT,)
    assert plan_webhooks(CallFaults(is_dropped=True)) == ()
    assert plan_webhooks(CallFaults(is_doubled=True, is_forged=True)) == (FORGED_REPORT, REPORT, REPEATED_REPORT)
    noisy = plan_webhooks(CallFaults(is_noisy=True))
    assert 0 < noisy.index(REPORT) < len(noisy) - 1


@pytest.mark.parametrize("value", ["Bearer secret", "sha256=ab0", "1788195955", "x="])
def test_forged_credentials_differ_in_their_last_character_only(value: str) -> None:
    forged = forge(lambda _method, _url, _body: {"X": value})("POST", "http://localhost", b"")

    assert forged["X"] != value
    assert re.fullmatch(re.escape(value[:-1]) + ".", forged["X"])


def test_a_backoff_plan_waits_twice_as_long_each_time_and_ends() -> None:
    backoff = BackoffPlan(max_retries=3, base_delay_s=5)
    refused = Answer("report", 503, "", 0.1)

    assert [backoff.delay_s(retry) for retry in (1, 2, 3)] == [5, 10, 20]
    assert [backoff.allows(retry, refused) for retry in (1, 3, 4)] == [True, True, False]


@pytest.mark.parametrize(("status", "is_allowed"), [(200, False), (401, False), (503, True), (None, True)])
def test_a_backoff_plan_repeats_what_is_neither_accepted_nor_excluded(status: int | None, *, is_allowed: bool) -> None:
    backoff = BackoffPlan(max_retries=1, base_delay_s=0, excluded_statuses=frozenset({401}))

    assert backoff.allows(1, Answer("report", status, "", 0.1)) is is_allowed
