"""`aftercall consume ledger` as a real process, on a real broker and real databases."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine
from yarl import URL

from consumers.enriched import emission
from consumers.ledger import Event
from consumers.messages import Message
from consumers.settling import note
from tests.acceptance.conftest import Installation, Vapi, fresh_report, report, sample
from tests.postgresql import PrivatePostgresql
from tests.processes import RunningProcess, eventually
from tests.publishing import publish
from tests.unit.builders import enriched_call
from worker.clients.ledger.ledger import Ledger, open_ledger
from worker.clients.ledger.schema import LEDGER, MIGRATIONS
from worker.clients.sql.schema import migrate
from worker.settings import load
from worker.simulate.tcp_proxy import TcpProxy

AT = 1_800_000_000.0


def many(count: int) -> list[Message]:
    """As many enriched calls, each followed by a note."""
    told: list[Message] = []
    for number in range(count):
        call_id = f"call-{number}"
        enriched = enriched_call(callId=call_id, call={"id": call_id, "artifact": {"transcript": "Hello. " * 500}})
        told.append(emission(enriched, source="webhook", emitted_at=AT, trace={}))
        told.append(note("retried", "default", call_id, AT - 5, {"x-aftercall-detail": "not final yet"}))
    return told


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(load({"AFTERCALL_LEDGER_URL": url})) as ledger:
        yield ledger


async def kept(url: str, count: int) -> dict[str, int]:
    """How many events of each kind there are, once there are so many."""
    async with reading(url) as ledger:

        async def enough() -> dict[str, int]:
            found = {kind: number for (_, kind), number in (await ledger.counts()).items()}
            return found if sum(found.values()) >= count else {}

        return await eventually(enough)


async def story(url: str, call_id: str) -> list[Event]:
    async with reading(url) as ledger:

        async def told() -> list[Event]:
            # A sweep may have come before the webhook.
            return [event for event in await ledger.story(call_id) if event.kind != "swept"]

        return await eventually(told)


async def started(installation: Installation, url: str, **environment: str) -> RunningProcess:
    return await installation.started("consume", "ledger", AFTERCALL_LEDGER_URL=url, **environment)


async def test_the_ledger_tells_what_became_of_a_call_and_nothing_that_was_said_in_it(
    installation: Installation, vapi: Vapi, ledger_url: str
) -> None:
    call = sample("call-outbound-ended.json")
    vapi.calls[call["id"]] = call
    await installation.started("webhook")
    await installation.started("consume", "enrich", "ledger", AFTERCALL_LEDGER_URL=ledger_url)

    await installation.post(report("outbound-ended"))

    (told,) = await story(ledger_url, call["id"])
    assert (told.kind, told.account, told.version, told.complete) == ("enriched", "default", 1, True)
    assert (told.source, told.attempt, told.joined_from) == ("webhook", 1, "both")
    assert (told.result, told.reason, told.ended_reason) == ("completed", "assistant-ended", "assistant-ended-call")
    assert None not in (told.ended_at, told.received_at, told.fetched_at, told.emitted_at)
    for private in ("Priya", "+15035550167", "Harborview"):
        assert private not in repr(told)


async def test_every_role_in_one_process_keeps_the_ledger_too(
    installation: Installation, vapi: Vapi, tmp_path: Path
) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    await installation.started("all")

    await installation.post(report("web"))

    (told,) = await story(f"sqlite:///{tmp_path}/.aftercall/ledger.db", call["id"])
    assert told.kind == "enriched"


async def test_a_call_that_could_not_be_had_at_once_has_a_story(
    installation: Installation, vapi: Vapi, ledger_url: str
) -> None:
    call = sample("call-web.json")
    await installation.started("webhook")
    await installation.started("consume", "enrich", "ledger", AFTERCALL_LEDGER_URL=ledger_url)
    await installation.post(fresh_report("web"))
    (first, *_) = await story(ledger_url, call["id"])

    vapi.calls[call["id"]] = call

    assert (first.kind, first.queue, first.attempt) == ("retried", "calls.enrich.default", 1)
    assert (first.tier, first.detail) == ("1s", "Vapi has no call of this id")
    async with reading(ledger_url) as ledger:
        told = await eventually(lambda: _told(ledger, call["id"]))
    assert told[-1].attempt == len(told)


async def _told(ledger: Ledger, call_id: str) -> list[Event]:
    told = await ledger.story(call_id)
    return told if told[-1].kind == "enriched" else []


async def test_a_ledger_killed_under_load_loses_nothing_and_writes_nothing_twice(
    installation: Installation, ledger_url: str
) -> None:
    first = await started(installation, ledger_url)
    messages = many(750)
    publishing = asyncio.ensure_future(publish(installation.amqp_url, messages))
    await kept(ledger_url, 100)

    await first.kill()
    await publishing
    await started(installation, ledger_url)

    assert await kept(ledger_url, len(messages)) == {"enriched": 750, "retried": 750}
    await eventually(lambda: _is_empty(installation, "calls.ledger"))


async def _is_empty(installation: Installation, queue: str) -> bool:
    return await installation.depth(queue) == 0


async def test_a_ledger_told_to_stop_finishes_what_it_has_and_leaves_the_rest_to_the_next(
    installation: Installation, ledger_url: str
) -> None:
    first = await started(installation, ledger_url)
    publishing = asyncio.ensure_future(publish(installation.amqp_url, many(400)))
    await kept(ledger_url, 50)

    assert await first.terminate() == 0
    await publishing
    await started(installation, ledger_url)

    assert await kept(ledger_url, 800) == {"enriched": 400, "retried": 400}
    for unwanted in ("unsettled", "interrupted", "ledger.away"):
        assert unwanted not in first.text()


async def test_while_the_database_is_away_the_events_wait_in_the_queue_and_no_attempt_is_spent(
    installation: Installation, postgresql_url: str
) -> None:
    address = URL(postgresql_url)
    async with TcpProxy(address.host or "", address.port or 0) as proxy:
        ledger = await started(installation, proxy.through(postgresql_url))
        await publish(installation.amqp_url, many(5))
        await kept(postgresql_url, 10)
        await proxy.refuse()
        proxy.cut()
        await publish(installation.amqp_url, many(50)[10:])

        await ledger.wait_for_line("AFTERCALL_LEDGER_URL.*ledger.away")
        await ledger.wait_for_url(installation.probe("consume", "readyz"), status=503)
        assert await eventually(lambda: installation.depth("calls.ledger")) == 90
        await proxy.accept()

        assert await kept(postgresql_url, 100) == {"enriched": 50, "retried": 50}
        await ledger.wait_for_line("ledger.back")
        await ledger.wait_for_url(installation.probe("consume", "readyz"))
        assert ledger.text().count("ledger.away") == 1
    assert set(settled(ledger)) == {"acked"}
    for queue in ("calls.retry.1s", "calls.ledger.dead", "calls.unrouted"):
        assert await installation.depth(queue) == 0


async def test_a_database_that_can_only_be_read_is_away_until_it_can_be_written_again(
    installation: Installation, postgresql: PrivatePostgresql, postgresql_url: str
) -> None:
    """A standby, or a disk that is full: each time around would count towards the queue's limit of deliveries."""
    name = postgresql_url.rpartition("/")[2]
    ledger = await started(installation, postgresql_url)
    postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    await publish(installation.amqp_url, many(5))

    await ledger.wait_for_line("ledger.away")
    await ledger.wait_for_line("DatabaseAway.*read-only.*broker.lost")
    postgresql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    assert await kept(postgresql_url, 10) == {"enriched": 5, "retried": 5}
    assert ledger.text().count("ledger.away") == 1


def settled(process: RunningProcess) -> list[str]:
    lines = [json.loads(line) for line in process.text().splitlines() if "delivery.settled" in line]
    return [line["outcome"] for line in lines]


async def test_a_ledger_whose_database_is_away_at_the_start_waits_for_it(
    installation: Installation, postgresql_url: str
) -> None:
    address = URL(postgresql_url)
    async with TcpProxy(address.host or "", address.port or 0) as proxy:
        await proxy.refuse()
        ledger = installation.start("consume", "ledger", AFTERCALL_LEDGER_URL=proxy.through(postgresql_url))
        await ledger.wait_for_line("refused.*ledger.away")
        await publish(installation.amqp_url, many(5))

        await proxy.accept()

        assert await kept(postgresql_url, 10) == {"enriched": 5, "retried": 5}


async def test_what_is_no_event_is_a_dead_letter_and_of_that_no_note_comes_back(
    installation: Installation, tmp_path: Path
) -> None:
    ledger = await started(installation, f"sqlite:///{tmp_path}/ledger.db")
    (told, _note) = many(1)
    rubbish = Message(exchange="calls", routing_key=told.routing_key, body=b"{", type="call.enriched")
    await publish(installation.amqp_url, [rubbish, told])

    (letter,) = await installation.take("calls.ledger.dead")

    assert letter.headers["x-aftercall-reason"] == "undecodable"
    assert await kept(f"sqlite:///{tmp_path}/ledger.db", 1) == {"enriched": 1}
    await eventually(lambda: sorted(settled(ledger)) == ["acked", "dead_lettered"])
    assert await installation.depth("calls.ledger") == 0


async def test_what_is_older_than_it_is_to_keep_is_deleted(installation: Installation, tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/ledger.db", time.time()
    async with reading(url) as ledger:
        for call_id, age_s in (("old", 7200), ("young", 60)):
            await ledger.record(
                Event(account="default", call_id=call_id, kind="enriched", at=now - age_s, event_id=call_id)
            )

        process = await started(installation, url, AFTERCALL_LEDGER_KEEP_S="3600")
        await process.wait_for_line("ledger.pruned")

        assert await ledger.standings("default", ["old", "young"], now) == {"young": "settled"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"AFTERCALL_LEDGER_URL": "mysql://localhost/ledger"}, "is kept in sqlite:///"),
        ({"AFTERCALL_LEDGER_URL": "sqlite:////proc/nobody/ledger.db"}, "cannot be made"),
        ({"AFTERCALL_LEDGER_KEEP_S": "for ever"}, "AFTERCALL_LEDGER_KEEP_S"),
        ({"AFTERCALL_SUBSCRIBERS": "postcall"}, "AFTERCALL_SUBSCRIBERS has no ledger"),
    ],
)
async def test_a_ledger_that_can_never_work_says_why_and_exits_with_64(
    installation: Installation, settings: dict[str, Any], told: str
) -> None:
    process = installation.start("consume", "ledger", **settings)

    assert await process.wait() == 64
    assert told in process.text()


async def test_a_ledger_of_a_newer_version_is_refused(installation: Installation, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    engine = create_engine(url)
    with engine.begin() as connection:
        newer = (*MIGRATIONS, ("CREATE TABLE of_the_future (x INTEGER)",))
        migrate(connection, replace(LEDGER, migrations=newer))
    engine.dispose()

    process = installation.start("consume", "ledger", AFTERCALL_LEDGER_URL=url)

    assert await process.wait() == 64
    assert "install a newer version" in process.text()
