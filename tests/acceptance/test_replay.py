"""`aftercall replay` as an operator uses it: real processes, from the archive to one subscriber's queue."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from consumers.enriched import EnrichedCall, decode_call, encode
from consumers.postcall import row_of
from consumers.replays import replay_of_call
from tests.acceptance.conftest import Installation
from tests.acceptance.test_archive import aftercall, data
from tests.integration.archived import NOW, delivered, opened
from tests.processes import AFTERCALL, RunningProcess, eventually
from tests.publishing import envelope
from tests.unit.builders import enriched_call
from worker.clients.ledger.ledger import open_ledger
from worker.settings import load


def call(call_id: str, number: int = 0, **changes: Any) -> EnrichedCall:
    ended_at = f"2026-08-31T17:{number // 60:02}:{number % 60:02}.000Z"
    return enriched_call(callId=call_id, call={"id": call_id, "endedAt": ended_at}, **changes)


@pytest.fixture
async def url(installation: Installation, archive_url: str, tmp_path: Path) -> str:
    """An archive, and a broker with its queues."""
    installation.environment["AFTERCALL_ARCHIVE_URL"] = archive_url
    installation.environment["AFTERCALL_LEDGER_URL"] = f"sqlite:///{tmp_path}/ledger.db"
    code, _, err = await aftercall(installation, "topology", "apply")
    assert code == 0, err
    return archive_url


async def keep(url: str, *calls: EnrichedCall) -> None:
    async with opened(url) as archive:
        await asyncio.gather(*(archive.save(row_of(delivered(each), NOW)) for each in calls))


def ids(messages: list[AbstractIncomingMessage]) -> list[str]:
    return [str(message.headers["ce-id"]) for message in messages]


async def test_a_replayed_call_is_a_new_event_for_one_queue_alone_and_noted(
    installation: Installation, url: str
) -> None:
    archived = call("c1", version=2)
    await keep(url, archived, call("c2"))

    plan = await data(installation, "replay", "--to", "crm", "--call-id", "c1", "--dry-run")
    assert plan == [{"account": "default", "result": "completed", "count": 1, "to": "calls.crm"}]
    assert await installation.depth("calls.crm") == 0

    told = await data(installation, "replay", "--to", "crm", "--call-id", "c1", "--run", "run-7")
    assert told == {"replayed": 1, "left": {}}

    (message,) = await installation.take("calls.crm")
    assert decode_call(message.body) == archived
    assert message.headers["ce-id"] == f"{encode(archived).event_id}/replay/run-7"
    assert (message.type, message.correlation_id, message.app_id) == ("call.amended", "c1", "aftercall")
    assert message.headers["x-aftercall-source"] == "replay"
    assert message.headers["x-aftercall-version"] == 2
    assert message.headers["traceparent"]
    (note,) = await installation.take("calls.ledger")
    assert note.routing_key == "call.noted.default.replayed"
    for queue in ("calls.postcall", "calls.alerts", "calls.unrouted"):
        assert await installation.depth(queue) == 0


async def test_the_ledger_tells_of_a_replay_in_the_story_of_the_call(installation: Installation, url: str) -> None:
    await keep(url, call("c1"))
    await data(installation, "replay", "--to", "crm", "--all", "--run", "run-7")

    await installation.started("consume", "ledger")

    async with open_ledger(load({"AFTERCALL_LEDGER_URL": installation.environment["AFTERCALL_LEDGER_URL"]})) as ledger:
        (event,) = await eventually(lambda: ledger.story("c1"))
    assert (event.kind, event.to, event.source, event.detail) == ("replayed", "calls.crm", "replay", "run run-7")
    _, page, _ = await aftercall(installation, "explain", "c1")
    assert "sent from the archive to calls.crm again, run run-7" in page


async def test_calls_are_chosen_and_come_the_oldest_first(installation: Installation, url: str) -> None:
    failed = {"result": "failed", "reason": "pipeline-error", "endedReason": "x"}
    await keep(url, call("c3", 3), call("c1", 1, outcome=failed), call("c2", 2), call("other", 2, account="acme"))
    chosen = ("replay", "--to", "calls.postcall", "--account", "default", "--since", "2026-08-31T17:00:01Z")

    assert await data(installation, *chosen, "--limit", "2") == {"replayed": 2, "left": {}}
    assert [message.correlation_id for message in await installation.take("calls.postcall", 2)] == ["c1", "c2"]

    assert await data(installation, *chosen, "--result", "failed") == {"replayed": 1, "left": {}}
    assert [message.correlation_id for message in await installation.take("calls.postcall")] == ["c1"]


async def test_a_run_that_is_gone_on_with_comes_under_the_same_ids_and_another_under_its_own(
    installation: Installation, url: str
) -> None:
    await keep(url, call("c1"))
    for run in (("--run", "a"), ("--run", "a"), ()):
        await data(installation, "replay", "--to", "crm", "--all", *run)

    first, again, another = ids(await installation.take("calls.crm", 3))

    assert first == again
    assert another.rpartition("/")[0] == first.rpartition("/")[0]
    assert another != first


async def test_ctrl_c_stops_after_the_call_in_hand_and_says_how_to_go_on(
    installation: Installation, url: str, start_process: Any
) -> None:
    await keep(url, *(call(f"c{number}", number) for number in range(200)))
    process: RunningProcess = start_process(
        *(AFTERCALL, "replay", "--to", "crm", "--all", "--rate", "20", "--yes", "--run", "r1"),
        environment=installation.environment_of("replay"),
    )
    await eventually(lambda: installation.depth("calls.crm"))

    process.signal(signal.SIGINT)

    assert await process.wait() == 130
    assert "Stopped. Go on with the same command and --run r1." in process.text()
    sent = await installation.depth("calls.crm")
    assert 0 < sent < 200
    assert f"{sent} call" in process.text()


async def test_without_a_terminal_many_calls_want_to_be_sure(installation: Installation, url: str) -> None:
    await keep(url, *(call(f"c{number}", number) for number in range(101)))

    code, _, err = await aftercall(installation, "replay", "--to", "crm", "--all")

    assert (code, "--yes says that you are sure" in err) == (64, True), err
    assert await installation.depth("calls.crm") == 0


async def test_what_cannot_be_done_is_one_sentence_and_moves_nothing(installation: Installation, url: str) -> None:
    await keep(url, call("c1"))
    for arguments, code, sentence in (
        (["--to", "crm", "--call-id", "c1", "--call-id", "nobody"], 1, "Not in the archive"),
        (["--to", "crm", "--reason", "voicemail"], 0, "There is no call to replay."),
    ):
        told = await aftercall(installation, "replay", *arguments)
        assert (told[0], told[1], sentence in told[2]) == (code, "", True), told
    async with await aio_pika.connect(installation.amqp_url) as connection:
        await (await connection.channel()).queue_delete("calls.alerts")
    code, _, err = await aftercall(installation, "replay", "--to", "alerts", "--all")
    assert (code, "calls.alerts does not exist" in err) == (1, True), err
    assert await installation.depth("calls.crm") == 0
    code, _, err = await aftercall(
        installation, "replay", "--to", "crm", "--all", AFTERCALL_AMQP_URL="amqp://127.0.0.1:1/"
    )
    assert (code, "The broker cannot be used" in err) == (69, True), err


async def test_an_archive_takes_its_own_replay_as_what_it_has(installation: Installation, url: str) -> None:
    archived = call("c1")
    await keep(url, archived)
    message = replay_of_call(archived, "calls.postcall", "r", NOW, {})
    async with await aio_pika.connect(installation.amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("calls.requeue", ensure=False)
        await exchange.publish(envelope(message), "calls.postcall")
    postcall = await installation.started("consume", "postcall")
    await postcall.wait_for_line("delivery.settled")

    (there,) = await data(installation, "calls", "list")
    assert there["eventId"] == encode(archived).event_id
    assert json.loads((await aftercall(installation, "export"))[1])["callId"] == "c1"
