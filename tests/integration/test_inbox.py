"""The inbox on real databases: an effect once per event, and none older after a newer."""

import asyncio
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path

import pytest

from consumers.inbox import LEASE_S, Arrival, once
from consumers.outcomes import DatabaseAway, Retry
from worker.clients.ledger.ledger import Ledger, open_ledger
from worker.settings import load

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

    with pytest.raises(Retry) as told:
        await verdict(ledger, arrival("e2", "12"), effects, NOW + 5)

    assert told.value.after == pytest.approx(LEASE_S - 5)
    assert await verdict(ledger, arrival(call_id="other"), effects) == "granted"
    assert await verdict(ledger, arrival(subscriber="forward/x"), effects) == "granted"


async def test_a_lease_that_nobody_ended_ends_by_itself(ledger: Ledger) -> None:
    effects = Effects()
    await ledger.claim(arrival(), NOW)
    assert await verdict(ledger, arrival(), effects, NOW + LEASE_S + 1) == "granted"


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
            except Retry:
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


async def test_what_is_old_is_forgotten_with_the_ledgers_events(ledger: Ledger) -> None:
    effects = Effects()
    await verdict(ledger, arrival(), effects)
    assert await ledger.prune(NOW + 1) == 1
    assert await verdict(ledger, arrival(), effects) == "granted"
