"""The alerts' tables on real databases: everything here runs on SQLite and on PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from consumers.alerts.groups import State, told
from consumers.alerts.rounds import Watch
from consumers.alerts.rules import Rule
from consumers.alerts.sightings import Sighting
from consumers.alerts.texts import Example
from consumers.alerts.windows import Hearing
from consumers.outcomes import DatabaseAway
from tests.unit.alerts import AT, alerts, rule
from worker.clients.ledger.alert_book import AlertBook, open_alert_book
from worker.clients.ledger.lease import LEASE_S
from worker.settings import Settings, load

DEAF = Hearing(None)
FAILED = rule()
SHARE = rule(name="share", measure="share", above=0.5)
SUM = rule(name="sum", result=(), measure="sum", of="facts.cost", above=1, window_s=60)
KEY = ("failed calls", "default", "")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AlertBook]:
    async with open_alert_book(load({"AFTERCALL_LEDGER_URL": url})) as book:
        yield book


@pytest.fixture
async def book(ledger_url: str) -> AsyncIterator[AlertBook]:
    async with opened(ledger_url) as book:
        yield book


def seen(call_id: str, of: Rule = FAILED, **changes: Any) -> Sighting:
    given: dict[str, Any] = {"account": "default", "rank": "11", "at": AT, "matched": True, "value": 0.0, "told": "why"}
    return Sighting(rule=of.name, call_id=call_id, is_of_window=of.measure is not None, **(given | changes))


def watch(*rules: Rule) -> Watch:
    return Watch(alerts(*rules or (FAILED,)), lambda _: [""], [])


async def look(book: AlertBook, *rules: Rule, at: float = AT, holder: str = "me") -> dict[Any, State] | None:
    found = await book.look(watch(*rules), holder, DEAF, at)
    return None if found is None else dict(found.states)


async def test_a_call_counts_once_however_often_it_is_delivered(book: AlertBook) -> None:
    for _ in range(2):
        await asyncio.gather(*(book.record([seen(f"call-{number}")], AT) for number in (1, 2, 1)))
        states = await look(book)

    assert states is not None
    assert states[KEY].count == 2


async def test_a_call_that_was_counted_is_not_new_again_when_it_is_amended(book: AlertBook) -> None:
    await book.record([seen("call-1")], AT)
    await look(book)
    await book.record([seen("call-1", rank="12", told="another reason")], AT + 5)
    states = await look(book, at=AT + 5)

    assert states == {KEY: State(watched_since=AT, since=AT, last_at=AT, count=1)}
    assert await examples(book, FAILED, since=AT) == [Example("call-1", "another reason")]


async def test_each_call_is_counted_by_one_look(book: AlertBook) -> None:
    """However looks and calls meet: nothing is counted twice, and nothing is passed over."""

    async def record() -> None:
        for number in range(100):
            await book.record([seen(f"call-{number}")], AT)

    recording = asyncio.create_task(record())
    while not recording.done():
        await look(book)
    states = await look(book)

    assert states is not None
    assert states[KEY].count == 100


async def test_a_window_is_measured_by_what_went_out_within_it(book: AlertBook) -> None:
    for number in range(10):
        at = AT - 200 * number
        await book.record([seen(f"call-{number}", SHARE, at=at, matched=number % 2 == 0)], AT)
        await book.record([seen(f"call-{number}", SUM, at=at, value=0.75)], AT)
    await book.record([seen("call-1", SHARE, account="acme")], AT)

    states = await look(book, SHARE, SUM)

    assert states is not None
    assert (states["share", "default", ""].value, states["share", "default", ""].calls) == (0.6, 5)
    assert (states["share", "acme", ""].value, states["share", "acme", ""].calls) == (1.0, 1)
    assert states["sum", "default", ""] == State(watched_since=AT)  # 0.75 of one call


async def test_a_window_is_measured_without_reading_the_calls_before_it(tmp_path: Path) -> None:
    """Every look measures every window, while others wait to write, and a week of calls is kept."""
    async with opened(f"sqlite:///{tmp_path}/ledger.db") as book:
        await book.reach()
        query = "SELECT account, count(*), sum(matched), sum(value) FROM aftercall_alert_calls"
        database = sqlite3.connect(tmp_path / "ledger.db")
        plan = database.execute(f"EXPLAIN QUERY PLAN {query} WHERE rule = '' AND at > 1 GROUP BY account").fetchall()
        database.close()

    assert any("COVERING INDEX" in step and "(rule=? AND at>?)" in step for *_, step in plan)


async def test_of_a_calls_events_the_greater_counts_in_a_window_and_at_the_time_of_the_first(book: AlertBook) -> None:
    await book.record([seen("call-1", SHARE, rank="02", at=AT - 100, matched=False)], AT - 100)
    await book.record([seen("call-1", SHARE, rank="11", at=AT)], AT)
    await book.record([seen("call-1", SHARE, rank="01", at=AT, matched=False)], AT)

    for at, last_at in ((AT, AT), (AT + 799, AT + 799), (AT + 801, AT + 799)):
        states = await look(book, SHARE, at=at)
        assert states is not None
        assert (states["share", "default", ""].value, states["share", "default", ""].last_at) == (1.0, last_at)


async def test_states_are_kept_and_those_that_nobody_asks_for_are_forgotten(ledger_url: str) -> None:
    async with opened(ledger_url) as book:
        await book.record([seen("call-1")], AT)
        states = await look(book)
        assert states is not None
        await book.told("me", KEY, told(states[KEY], "raised", AT + 30))
    async with opened(ledger_url) as book:
        raised = State(watched_since=AT, since=AT, last_at=AT, count=1, told_at=AT + 30, told_count=1)
        assert await look(book, at=AT + 30) == {KEY: raised}
        assert await look(book, SHARE) == {}
        assert await look(book) == {}


async def test_one_process_tells_until_its_lease_runs_out(book: AlertBook) -> None:
    assert await look(book) is not None
    assert await look(book, at=AT + LEASE_S - 1, holder="another") is None
    assert await look(book, at=AT + LEASE_S * 0.6) is not None
    assert await look(book, at=AT + LEASE_S + 1, holder="another") is None
    assert await look(book, at=AT + LEASE_S * 1.7, holder="another") is not None
    assert await look(book, at=AT + LEASE_S * 1.8) is None


async def test_a_lease_from_before_the_clock_went_back_keeps_nobody_from_telling(book: AlertBook) -> None:
    assert await look(book) is not None
    assert await look(book, at=AT - 3600, holder="another") is not None


async def test_a_process_that_ends_in_order_lets_another_tell_at_once(book: AlertBook) -> None:
    await look(book)
    await book.release("another")
    assert await look(book, holder="another") is None

    await book.release("me")

    assert await look(book, holder="another") is not None


async def test_of_several_that_ask_at_once_one_may_tell(ledger_url: str) -> None:
    async with opened(ledger_url) as one, opened(ledger_url) as two, opened(ledger_url) as three:
        found = await asyncio.gather(
            *(look(book, holder=f"process {number}") for number, book in enumerate((one, two, three)))
        )

    assert sum(states is not None for states in found) == 1


async def test_who_has_lost_the_lease_changes_nothing(book: AlertBook) -> None:
    await book.record([seen("call-1")], AT)
    states = await look(book)
    assert states is not None
    await book.record([seen("call-2")], AT)
    await look(book, at=AT + LEASE_S + 1, holder="another")

    await book.told("me", KEY, told(states[KEY], "over", AT))

    later = await look(book, at=AT + LEASE_S + 2, holder="another")
    assert later is not None
    assert later[KEY].count == 2


async def examples(book: AlertBook, of: Rule, *, since: float, matched: bool = True, count: int = 3) -> list[Example]:
    return await book.examples(of, "default", matched=matched, since=since, count=count)


async def test_examples_are_the_latest_calls_of_the_group(book: AlertBook) -> None:
    await book.record([seen("old", told="of the last group")], AT)
    await look(book, at=AT)
    for number in range(5):
        await book.record([seen(f"call-{number}", at=AT + number, told=f"why {number}")], AT + 60)
    await book.record([seen("elsewhere", account="acme", at=AT + 9)], AT + 60)
    await look(book, at=AT + 60)

    shown = await examples(book, FAILED, since=AT + 60)

    assert shown == [Example(f"call-{number}", f"why {number}") for number in (4, 3, 2)]


async def test_examples_of_a_window_are_of_the_window_and_matching_or_not(book: AlertBook) -> None:
    for number in range(4):
        await book.record([seen(f"call-{number}", SHARE, at=AT + number, matched=number % 2 == 0)], AT + 9)

    assert [each.call_id for each in await examples(book, SHARE, since=AT)] == ["call-2"]
    assert [each.call_id for each in await examples(book, SHARE, since=AT - 1, matched=False)] == ["call-3", "call-1"]


async def test_what_no_database_takes_as_it_is_is_written_all_the_same(book: AlertBook) -> None:
    await book.record([seen("call-1", told="a\0b \ud83d")], AT)
    await look(book)

    assert await examples(book, FAILED, since=AT) == [Example("call-1", "a\N{REPLACEMENT CHARACTER}b ?")]


async def test_calls_are_forgotten_in_time(book: AlertBook) -> None:
    await book.record([seen("old", at=AT + 99)], AT)
    await book.record([seen("new", at=AT - 99)], AT + 10)

    assert await book.prune(AT + 5) == 1
    assert await book.prune(AT + 5) == 0
    states = await look(book)
    assert states is not None
    assert states[KEY].count == 1


async def test_a_database_that_does_not_answer_is_away(postgresql_url: str) -> None:
    settings = Settings(
        ledger_url=load({"AFTERCALL_LEDGER_URL": postgresql_url.replace("127.0.0.1", "127.0.0.2")}).ledger_url
    )
    async with open_alert_book(settings) as book:
        with pytest.raises(DatabaseAway):
            await book.record([seen("call-1")], AT)
        with pytest.raises(DatabaseAway):
            await look(book)
