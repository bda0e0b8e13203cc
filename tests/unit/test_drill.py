import json
from collections import Counter
from typing import Any

import pytest

from worker.simulate.account import EndedCall, SentWebhook
from worker.simulate.drill import account as accounts
from worker.simulate.drill.faults import FAULTS, LANES
from worker.simulate.drill.plan import plan
from worker.simulate.drill.subscriber import Subscriber
from worker.simulate.faults import CallFaults
from worker.simulate.script.outlines import outline_call
from worker.simulate.webhooks import FORGED_REPORT, REPEATED_REPORT, REPORT

LASTING = {"one": (1.0, 2.0), "two": (0.5, 0.5), "three": (3.0, 4.0)}


def test_a_seed_strikes_in_the_same_order_each_time_and_another_seed_in_another() -> None:
    assert plan(7, "roles", LASTING, 60) == plan(7, "roles", LASTING, 60)
    assert plan(7, "roles", LASTING, 60) != plan(8, "roles", LASTING, 60)
    assert plan(7, "roles", LASTING, 60) != plan(7, "broker", LASTING, 60)


@pytest.mark.parametrize("seed", range(20))
def test_each_fault_strikes_before_any_strikes_again_and_all_within_the_time(seed: int) -> None:
    strikes = plan(seed, "roles", LASTING, 60)

    assert sum(strike.after_s + strike.lasts_s for strike in strikes) <= 60
    for start in range(0, len(strikes) - 3, 3):
        assert Counter(strike.fault for strike in strikes[start : start + 3]) == Counter(list(LASTING))
    for strike in strikes:
        least, most = LASTING[strike.fault]
        assert least <= strike.lasts_s <= most


def test_a_lane_without_faults_rests_and_a_short_time_still_has_one_blow() -> None:
    assert plan(1, "roles", {}, 60) == ()
    assert len(plan(1, "roles", LASTING, 0.1)) == 1


def test_every_fault_is_in_a_lane_that_is_run() -> None:
    assert {fault.lane for fault in FAULTS.values()} == set(LANES)


def ended(number: int, faults: CallFaults, *webhooks: tuple[str, int | None]) -> EndedCall:
    sent = [SentWebhook(kind, status, "", 1) for kind, status in webhooks]
    return EndedCall(outline_call(1, number, 1_800_000_000.0), faults, tuple(kind for kind, _ in webhooks), sent)


def test_what_was_answered_with_200_and_what_a_sweep_can_find_are_counted_apart() -> None:
    calls = [
        ended(0, CallFaults(), (REPORT, 200)),
        ended(1, CallFaults(is_doubled=True), (REPORT, None), (REPEATED_REPORT, 200)),
        ended(2, CallFaults(is_gone=True), (REPORT, 503)),
        ended(3, CallFaults(is_dropped=True)),
        ended(4, CallFaults(is_forged=True), (FORGED_REPORT, 200), (REPORT, 503)),
    ]
    ids = [call.outline.id for call in calls]

    assert accounts.accepted(calls) == {ids[0], ids[1]}
    assert accounts.findable(calls) == {ids[0], ids[1], ids[3], ids[4]}
    assert accounts.forged(calls) == [ids[4]]
    assert accounts.refused(calls) == {"none": 1, "503": 2}


def event(version: int = 1, **content: Any) -> bytes:
    timeline = {"attempts": version}
    return json.dumps({"callId": "a", "version": version, "complete": True, "timeline": timeline} | content).encode()


def test_a_duplicate_under_an_old_id_is_counted_and_one_in_disguise_is_found() -> None:
    subscriber = Subscriber("amqp://127.0.0.1/", "postcall")

    subscriber.see("id-1", event(complete=False))
    subscriber.see("id-1", event(complete=False))
    subscriber.see("id-2", event(2, said="more"))

    seen = subscriber.calls["a"]
    assert (subscriber.duplicates, seen.amended, seen.is_complete, seen.is_disguised) == (1, 1, True, False)
    subscriber.see("id-3", event(3, said="more"))
    assert seen.is_disguised
