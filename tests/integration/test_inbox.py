"""The inbox on real databases: an effect once per event, and none older after a newer."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path

import pytest

from consumers.inbox import LEASE_S, Arrival, once
from consumers.messages import Delivery
from consumers.outcomes import DatabaseAway, Hold
from consumers.settling import Schedule, settle
from consumers.timestamps import iso
from tests.processes import eventually
from worker.clients.ledger.ledger import Ledger, open_ledger
from worker.settings import Secret, load

NOW = 1_800_000_000.0


def arrival(id_: str = "e1", rank: str = "11", *, call_id: str = "call", subscriber: str = "crm") -> Arrival:
    return Arrival(subscriber=subscriber, account="default", call_id=call_id, id=id_, rank=rank)


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(load({"AFTERCALL_LEDGER_URL": ledger_url})) as opened:
        yield opened


class Effects:
    """What was done, in its order; the memo of each is its number."""

    def __init__(self) -> None:
        self.memos: list[str] = []

    async def act(self, memo: str) -> str:
        self.memos.append(memo)
        return str(len(self.memos))


async def verdict(ledger: Ledger, event: Arrival, effects: Effects, now: float = NOW) -> str:
    return (await once(event, effects.act, inbox=ledger, now=now)).verdict


async def test_an_event_is_acted_upon_once_and_the_next_of_the_call_is_told_what_the_last_left(ledger: Ledger) -> None:
    effects = Effects()
    verdicts = [await verdict(ledger, each, effects) for each in (arrival(), arrival(), arrival("e2", "12"))]
    assert verdicts == ["granted", "duplicate", "granted"]
    assert effects.memos == ["", "1"]


async def test_an_older_event_is_dropped_after_a_newer_one_and_a_replay_of_equal_rank_is_not(ledger: Ledger) -> None:
    effects = Effects()
    events = (arrival("new", "12"), arrival("old", "11"), arrival("new/replay/r1", "12"), arrival("new", "12"))
    assert [await verdict(ledger, each, effects) for each in events] == [
        "granted",
        "superseded",
        "granted",
        "duplicate",
    ]


@pytest.mark.parametrize("order", list(permutations(["1", "2", "3"])))
async def test_in_whatever_order_events_come_the_greatest_is_acted_upon_last(
    ledger: Ledger, order: tuple[str, ...]
) -> None:
    acted: list[str] = []
    for rank in order:

        async def act(memo: str, rank: str = rank) -> str:
            acted.append(rank)
            return memo

        await once(arrival(f"e{rank}", rank), act, inbox=ledger, now=NOW)
    assert acted == sorted(acted)
    assert acted[-1] == "3"


async def test_while_one_is_at_a_call_another_waits_for_it_and_not_for_other_calls(ledger: Ledger) -> None:
    effects = Effects()
    await ledger.claim(arrival(), NOW)

    with pytest.raises(Hold, match="free in 70 s") as told:
        await verdict(ledger, arrival("e2", "12"), effects, NOW + 5)

    assert told.value.due_at == pytest.approx(NOW + LEASE_S)
    assert await verdict(ledger, arrival(call_id="other"), effects) == "granted"
    assert await verdict(ledger, arrival(subscriber="forward/x"), effects) == "granted"


async def test_a_lease_that_nobody_ended_ends_by_itself(ledger: Ledger) -> None:
    effects = Effects()
    await ledger.claim(arrival(), NOW)
    assert await verdict(ledger, arrival(), effects, NOW + LEASE_S + 1) == "granted"


async def test_a_lease_from_before_the_clock_went_back_keeps_nobody_from_a_call(ledger: Ledger) -> None:
    await ledger.claim(arrival(), NOW + 3600)
    assert await verdict(ledger, arrival(), Effects(), NOW) == "granted"


@pytest.mark.parametrize(("age_s", "tier"), [(1, "5s"), (200_000, "30s")])
async def test_who_waits_for_a_call_is_soon_back_spends_no_attempt_and_is_never_given_up(
    ledger: Ledger, age_s: float, tier: str
) -> None:
    """After a kill the lease is left; after a long outage all of a call's events come back at once."""
    began = iso(NOW - age_s)
    headers = {"x-aftercall-first-attempt-at": began, "x-aftercall-received-at": began, "x-aftercall-attempt": 3}
    delivery = Delivery(queue="calls.crm", body=b"{}", headers=headers)
    await ledger.claim(arrival(), NOW)
    with pytest.raises(Hold) as told:
        await verdict(ledger, arrival("e2", "12"), Effects(), NOW + 1)

    settlement = settle(delivery, told.value, schedule=Schedule((5, 30, 120, 3600), 90_000), now=NOW + 1)

    assert (settlement.name, settlement.reason) == ("held", tier)
    assert settlement.messages[0].headers["x-aftercall-attempt"] == 3


async def test_what_failed_may_be_tried_again_at_once(ledger: Ledger) -> None:
    async def fail(_memo: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await once(arrival(), fail, inbox=ledger, now=NOW)

    assert await verdict(ledger, arrival(), Effects()) == "granted"


async def test_of_many_that_come_at_once_to_several_processes_each_event_is_acted_upon_once(ledger_url: str) -> None:
    settings = load({"AFTERCALL_LEDGER_URL": ledger_url})
    acted: list[str] = []

    async def arrive(ledger: Ledger, number: int) -> None:
        async def act(memo: str) -> str:
            acted.append(str(number))
            return memo

        for _ in range(50):
            try:
                await once(arrival(call_id=f"c{number}"), act, inbox=ledger, now=NOW)
            except Hold:
                continue
            return

    async with open_ledger(settings) as one, open_ledger(settings) as two:
        await asyncio.gather(*(arrive(ledger, number) for number in range(100) for ledger in (one, two, one)))

    assert sorted(acted, key=int) == [str(number) for number in range(100)]


async def test_without_its_database_the_effect_is_made_all_the_same(tmp_path: Path) -> None:
    settings = load({"AFTERCALL_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db"})
    effects = Effects()
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 1000)
    async with open_ledger(settings) as ledger:
        with pytest.raises(DatabaseAway):
            await ledger.story("call")
        assert await verdict(ledger, arrival(), effects) == "granted"
    assert effects.memos == [""]


async def test_an_inbox_that_hangs_takes_little_time_and_notes_the_effect_once_it_answers(tmp_path: Path) -> None:
    effects = Effects()
    ledger = Ledger(Secret(f"sqlite:///{tmp_path}/ledger.db"), waiting_s=1, inbox_s=0.2)
    await ledger.reach()
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def act(memo: str) -> str:
        other.execute("ROLLBACK")
        return await effects.act(memo)

    assert (await once(arrival(), act, inbox=ledger, now=NOW)).verdict == "granted"
    assert await eventually(lambda: _is_noted(ledger))
    other.close()
    await ledger.close()


async def _is_noted(ledger: Ledger) -> bool:
    return (await ledger.claim(arrival(), NOW)).verdict == "duplicate"


async def test_what_is_old_is_forgotten_with_the_ledgers_events(ledger: Ledger) -> None:
    effects = Effects()
    await verdict(ledger, arrival(), effects)
    assert await ledger.prune(NOW + 1) == 1
    assert await verdict(ledger, arrival(), effects) == "granted"
