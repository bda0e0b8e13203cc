"""The ledger on real databases: everything here runs on SQLite and on PostgreSQL, unless it is about one of them."""

import asyncio
from threading import Event as Flag
from typing import Any

import pytest

from consumers.ledger import KINDS
from consumers.outcomes import DatabaseAway
from tests.integration.ledgers import FULL, NOW, WAITING_S, event
from worker.clients.ledger.ledger import Ledger
from worker.clients.ledger.store import PRUNED_AT_ONCE

# What is written


async def test_an_event_comes_back_as_it_went_in(ledger: Ledger) -> None:
    plain = event(call_id=FULL.call_id, at=NOW + 1)
    await ledger.record(plain)
    await ledger.record(FULL)

    assert await ledger.story(FULL.call_id) == [FULL, plain]


async def test_a_story_tells_of_every_account_in_the_order_of_time_and_of_writing(ledger: Ledger) -> None:
    told = [event(call_id="c", at=at, account=account) for at, account in ((NOW, "b"), (NOW, "a"), (NOW - 1, "b"))]
    for each in told:
        await ledger.record(each)
    await ledger.record(event(call_id="another"))

    assert await ledger.story("c") == [told[2], told[0], told[1]]


async def test_a_redelivered_event_is_recorded_once_and_one_of_another_kind_besides(ledger: Ledger) -> None:
    first = event(call_id="c", event_id="default/c/1")
    await ledger.record(first)
    await ledger.record(event(call_id="c", event_id="default/c/1", at=NOW + 60))
    await ledger.record(event(call_id="c", event_id="default/c/1", kind="amended", at=NOW + 90))

    assert [(each.kind, each.at) for each in await ledger.story("c")] == [("enriched", NOW), ("amended", NOW + 90)]


async def test_the_same_event_twice_in_one_transaction_is_recorded_once(ledger: Ledger) -> None:
    same = event(call_id="c")

    await asyncio.gather(*(ledger.record(each) for each in [same, event(), same, same, event()]))

    assert await ledger.story("c") == [same]
    assert sum((await ledger.counts()).values()) == 3


async def test_all_that_wait_go_into_one_transaction(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await ledger.reach()
    store = await ledger.ask(lambda store: store)
    together: list[int] = []
    record = store.record
    monkeypatch.setattr(store, "record", lambda events: together.append(len(events)) or record(events))
    is_blocked = Flag()
    blocking = asyncio.ensure_future(ledger.ask(lambda _store: is_blocked.wait(20)))

    recording = asyncio.gather(*(ledger.record(event()) for _ in range(300)))
    all_wait = asyncio.Event()
    asyncio.get_running_loop().call_soon(all_wait.set)  # after the first step of each of them
    await all_wait.wait()
    is_blocked.set()
    await asyncio.gather(blocking, recording)

    assert len(together) <= 2
    assert sum(together) == 300


async def test_an_event_that_the_database_refuses_is_no_trouble_of_the_others(ledger: Ledger) -> None:
    refused = event(body_bytes=2**70)
    outcomes = await asyncio.gather(
        *(ledger.record(each) for each in [event(call_id="c"), refused, event(call_id="c")]), return_exceptions=True
    )

    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    assert not isinstance(outcomes[1], DatabaseAway)
    assert len(await ledger.story("c")) == 2


async def test_an_event_is_there_once_it_is_written(ledger: Ledger) -> None:
    asked = event(kind="asked", call_id="", event_id="default//asked/1.5")
    assert not await ledger.wrote(asked.event_id)

    await ledger.record(asked)

    assert await ledger.wrote(asked.event_id)


async def test_events_are_counted_by_account_and_kind(ledger: Ledger) -> None:
    kinds = (("default", "enriched"), ("default", "enriched"), ("acme", "dead"))
    for at, (account, kind) in enumerate(kinds):
        await ledger.record(event(account=account, kind=kind, at=NOW + at))

    assert await ledger.counts() == {("default", "enriched"): 2, ("acme", "dead"): 1}
    assert await ledger.counts(since=NOW + 1) == {("default", "enriched"): 1, ("acme", "dead"): 1}


# What is asked


@pytest.mark.parametrize(
    ("kind", "age_s", "standing"),
    [
        *((kind, 10**7, "settled") for kind in ("enriched", "amended", "dead", "discarded")),
        *((kind, 10, "on its way") for kind in ("swept", "retried", "held")),
        *((kind, WAITING_S + 1, None) for kind in ("swept", "retried", "held")),
        *((kind, 10, None) for kind in ("parked", "replayed", "asked")),
    ],
)
async def test_a_call_is_settled_for_good_and_on_its_way_for_a_while(
    ledger: Ledger, kind: Any, age_s: float, standing: str | None
) -> None:
    await ledger.record(event(call_id="c", kind=kind, at=NOW - age_s))

    assert (await ledger.standings("default", ["c"], NOW)).get("c") == standing


async def test_of_many_events_of_a_call_the_latest_count(ledger: Ledger) -> None:
    for at in (NOW - 2 * WAITING_S, NOW - 10, NOW - WAITING_S):
        await ledger.record(event(call_id="c", kind="retried", at=at))
        await ledger.record(event(call_id="d", kind="retried", at=at))
    await ledger.record(event(call_id="d", at=NOW - 10**7))

    assert await ledger.standings("default", ["c", "d"], NOW) == {"c": "on its way", "d": "settled"}


async def test_a_call_counts_in_its_own_account_only(ledger: Ledger) -> None:
    await ledger.record(event(call_id="c", account="acme"))

    assert await ledger.standings("default", ["c"], NOW) == {}
    assert await ledger.standings("acme", ["c", "d"], NOW) == {"c": "settled"}


async def test_thousands_of_calls_can_be_asked_about_at_once(ledger: Ledger) -> None:
    known = [f"call-{number}" for number in range(0, 3000, 2)]
    await asyncio.gather(*(ledger.record(event(call_id=call_id)) for call_id in known))

    assert (await ledger.standings("default", [f"call-{number}" for number in range(3000)], NOW)).keys() == set(known)
    assert await ledger.standings("default", [], NOW) == {}


async def test_a_watermark_only_goes_forward(ledger: Ledger) -> None:
    assert await ledger.watermark("default") is None
    for at in (NOW, NOW - 60, NOW + 0.25, NOW):
        await ledger.set_watermark("default", at)

    assert await ledger.watermark("default") == NOW + 0.25
    assert await ledger.watermark("acme") is None


async def test_pruning_deletes_what_is_too_old_a_bounded_number_at_a_time(ledger: Ledger) -> None:
    old = PRUNED_AT_ONCE + 10
    await asyncio.gather(*(ledger.record(event(at=NOW - 100)) for _ in range(old)))
    await asyncio.gather(*(ledger.record(event(at=NOW)) for _ in range(5)))

    assert [await ledger.prune(NOW - 50) for _ in range(3)] == [PRUNED_AT_ONCE, 10, 0]
    assert sum((await ledger.counts()).values()) == 5


def test_every_kind_has_been_thought_of() -> None:
    assert set(KINDS) == {
        *("enriched", "amended", "retried", "held", "parked"),
        *("dead", "replayed", "discarded", "swept", "asked"),
    }


async def test_text_in_any_language_and_time_to_the_microsecond_survive(ledger: Ledger) -> None:
    told = event(call_id="ç/日本/🤝", detail="“naïve” 🤝", at=1796000000.123456, event_id="default/ç/日本/🤝/dead/1.5")
    await ledger.record(told)

    assert await ledger.story("ç/日本/🤝") == [told]
