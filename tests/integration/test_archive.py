"""The archive on real databases: everything here runs on SQLite and on PostgreSQL, unless it is about one of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, inspect, make_url

from consumers.enriched import decode_call
from consumers.ledger import Event
from consumers.outcomes import DatabaseAway
from consumers.postcall import COLUMNS, CallRow, WantedCalls, body_of, row_of
from consumers.words import terms_of
from tests.integration.archived import NOW, delivered, found, opened, row
from tests.unit.builders import enriched_call, fetched
from worker.clients.archive.archive import PAGE, Archive
from worker.clients.archive.schema import ARCHIVE, CALLS
from worker.clients.archive.store import PRUNED_AT_ONCE
from worker.clients.ledger.ledger import open_ledger
from worker.clients.sql.database import Database
from worker.settings import SettingsError, load


@pytest.fixture
async def archive(archive_url: str) -> AsyncIterator[Archive]:
    async with opened(archive_url) as archive:
        yield archive


async def kept(archive: Archive, call_id: str) -> CallRow:
    (only,) = await found(archive, call_ids=(call_id,))
    return replace(only, id=0)


# What is kept


async def test_a_call_comes_back_as_it_went_in(archive: Archive) -> None:
    told = row(call=fetched())
    await archive.save(told)

    assert await kept(archive, told.call_id) == told
    assert decode_call(body_of(await kept(archive, told.call_id))) == enriched_call(call=fetched())


async def test_a_call_of_which_nearly_nothing_is_known_comes_back_too(archive: Archive) -> None:
    told = row(call={}, complete=False, missing=["api", "cost"])
    await archive.save(told)

    assert await kept(archive, told.call_id) == told


def events() -> list[CallRow]:
    """A call's events, each greater than the one before."""
    timeline = {"endedAt": "", "receivedAt": "", "emittedAt": "", "attempts": 1}
    first = {"complete": False, "missing": ["api"], "timeline": timeline | {"fetchedAt": None}}
    second = {"complete": False, "missing": ["cost"], "timeline": timeline | {"fetchedAt": "2026-08-31T17:10:00.000Z"}}
    third = {"version": 2, "timeline": timeline | {"fetchedAt": "2026-08-31T17:20:00.000Z"}}
    return [
        row(call_id="c", **given, call={"analysis": {"summary": f"It was the {number}"}})
        for number, given in (("first", first), ("second", second), ("third", third))
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_of_a_calls_events_the_greater_stays_in_whatever_order_they_come(
    archive: Archive, order: tuple[int, ...]
) -> None:
    for number in (*order, order[0], order[1]):
        await archive.save(events()[number])

    assert await kept(archive, "c") == events()[2]


async def test_the_events_of_a_call_in_one_transaction_end_in_the_greater_too(archive: Archive) -> None:
    first, second, third = events()
    await asyncio.gather(*(archive.save(each) for each in (third, first, second, third)))

    assert await kept(archive, "c") == third


async def test_a_call_of_two_accounts_is_two_calls(archive: Archive) -> None:
    await archive.save(row(call_id="c"))
    await archive.save(row(call_id="c", account="acme"))

    assert [each.account for each in await found(archive, call_ids=("c",))] == ["default", "acme"]


async def test_all_that_wait_go_into_few_transactions_and_one_that_is_refused_holds_up_no_other(
    archive: Archive,
) -> None:
    refused = replace(row(call_id="refused"), version=2**70)
    rows = [row(call_id=f"c{number}") for number in range(40)]
    outcomes = await asyncio.gather(*map(archive.save, [*rows, refused, *rows[:5]]), return_exceptions=True)

    assert [isinstance(each, Exception) for each in outcomes] == [False] * 40 + [True] + [False] * 5
    assert not isinstance(outcomes[40], DatabaseAway)
    assert sum((await archive.counts(WantedCalls())).values()) == 40


async def test_nul_and_half_an_emoji_are_no_trouble(archive: Archive) -> None:
    call = enriched_call(call={"id": "x", "analysis": {"summary": "PLACE", "structuredData": {"a": "\0"}}})
    told = delivered(call)
    broken = replace(told, body=told.body.replace(b"PLACE", rb"nul \u0000 and half \ud83d"))

    await archive.save(row_of(broken, NOW))

    (there,) = await found(archive)
    assert there.summary == "nul � and half �"
    assert rb"\ud83d" in body_of(there), "the whole call is as it came"


async def test_texts_of_any_length_where_ids_are_due_hold_nobody_up(archive: Archive) -> None:
    text = "".join(chr(0x20000 + number * 7919 % 40_000) for number in range(10_000))  # which no index compresses
    call = {"assistantId": text, "customer": {"number": text}, "phoneNumber": {"number": text}, "type": text}
    outcome = {"result": "unknown", "reason": "unknown", "endedReason": text}
    await archive.save(row(call_id=text, account=text, call=call, outcome=outcome))

    assert [len(each.call_id) for each in await found(archive)] == [200]


async def test_a_transcript_of_half_a_megabyte_is_found_by_its_last_word(archive: Archive) -> None:
    transcript = " ".join(f"word{number % 5000}" for number in range(60_000)) + " the needle"
    assert len(transcript) > 500_000
    await archive.save(row(call_id="long", call={"artifact": {"transcript": transcript}}))

    (there,) = await found(archive, terms=terms_of("needle"))
    assert there.transcript == transcript


async def test_what_has_more_words_than_an_index_takes_is_kept_and_found_by_its_beginning(archive: Archive) -> None:
    transcript = " ".join(f"w{number:06}" for number in range(300_000))
    await archive.save(row(call_id="huge", call={"artifact": {"transcript": transcript}}))

    (there,) = await found(archive, terms=terms_of("w000123"))
    assert there.transcript == transcript


# Both in one database


async def test_ledger_and_archive_may_share_a_database(archive_url: str) -> None:
    settings = load({"AFTERCALL_ARCHIVE_URL": archive_url, "AFTERCALL_LEDGER_URL": archive_url})
    event = Event(account="default", call_id="c", kind="enriched", at=NOW, event_id="e")
    async with open_ledger(settings) as ledger, opened(archive_url) as archive:
        await asyncio.gather(
            *(archive.save(row(call_id=f"c{number}")) for number in range(20)),
            *(ledger.record(replace(event, event_id=f"e{number}")) for number in range(20)),
        )

        assert sum((await archive.counts(WantedCalls())).values()) == 20
        assert sum((await ledger.counts()).values()) == 20


async def test_two_processes_that_open_a_new_archive_at_once_and_write_the_same_calls_agree(archive_url: str) -> None:
    async with opened(archive_url) as one, opened(archive_url) as other:
        rows = [row(call_id=f"c{number}") for number in range(60)]
        await asyncio.gather(*map(one.save, rows), *map(other.save, reversed(rows)))

        assert sum((await one.counts(WantedCalls())).values()) == 60


# The schema


def engine_of(url: str) -> Any:
    given = make_url(url)
    return create_engine(given.set(drivername="postgresql+psycopg") if given.drivername == "postgresql" else given)


async def test_the_tables_are_those_that_are_asked(archive: Archive, archive_url: str) -> None:
    await archive.reach()
    engine = engine_of(archive_url)
    names = {each["name"] for each in inspect(engine).get_columns("aftercall_calls")}
    engine.dispose()

    assert names | {"words"} == set(CALLS.c.keys())
    assert {"id", "words", *COLUMNS} == set(CALLS.c.keys()), "a new fact wants a column, which is a migration"


async def test_a_schema_that_is_newer_is_refused(archive_url: str) -> None:
    newer = replace(ARCHIVE, migrations=(*ARCHIVE.migrations, ("CREATE TABLE of_the_future (x INTEGER)",)))
    database = Database(lambda: archive_url, newer)
    with database.reading():
        pass
    database.close()

    with pytest.raises(SettingsError, match="install a newer version"):
        async with opened(archive_url):
            pass


async def test_looking_at_the_schema_makes_no_database(tmp_path: Path) -> None:
    archive = Archive(load({"AFTERCALL_ARCHIVE_URL": f"sqlite:///{tmp_path}/none/archive.db"}).archive_url)

    assert await archive.schema() == (0, len(ARCHIVE.migrations))
    assert not (tmp_path / "none").exists()  # a folder of the test's own
    await archive.close()


# What is deleted


def ended(call_id: str, at: str, account: str = "default") -> CallRow:
    return row(call_id=call_id, account=account, call={"endedAt": at})


async def test_each_account_keeps_its_calls_as_long_as_it_is_told(archive: Archive) -> None:
    ages = {"old": "2026-12-01T00:00:00Z", "young": "2027-01-15T07:00:00Z"}  # now is 2027-01-15T08:00:00Z
    for account in ("default", "acme", "for-ever", "gone"):
        for name, at in ages.items():
            await archive.save(ended(f"{account}-{name}", at, account))

    deleted = await archive.prune({"default": 86400.0, "acme": 1800.0, "for-ever": 0.0}, 86400.0, NOW)

    assert deleted == 4
    assert {each.call_id for each in await found(archive)} == {
        *("default-young", "for-ever-old", "for-ever-young", "gone-young")
    }
    assert await archive.prune({}, 0.0, NOW) == 0
    assert await archive.prune({}, 1e15, NOW) == 0


async def test_a_bounded_number_is_deleted_at_a_time(archive: Archive) -> None:
    rows = [ended(f"c{number}", "2026-01-01T00:00:00Z") for number in range(PRUNED_AT_ONCE + 5)]
    await asyncio.gather(*map(archive.save, rows))

    assert [await archive.prune({}, 1.0, NOW) for _ in range(3)] == [PRUNED_AT_ONCE, 5, 0]


# Pages


@pytest.mark.parametrize("newest_first", [True, False])
async def test_each_call_comes_once_however_many_ended_at_one_instant(archive: Archive, newest_first: bool) -> None:
    times = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00.123Z")
    rows = [ended(f"c{number}", times[number % 2]) for number in range(2 * PAGE + 7)]
    await asyncio.gather(*map(archive.save, rows))

    told = await found(archive, newest_first=newest_first, without=("body", "transcript"))

    assert len({each.call_id for each in told}) == len(told) == len(rows)
    places = [(each.ended_at, each.id) for each in told]
    assert places == sorted(places, reverse=newest_first)
    assert {(each.body, each.transcript) for each in told} == {(b"", None)}
