"""`aftercall consume postcall` as a real process, and the commands that look at what it keeps."""

import asyncio
import csv
import io
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from yarl import URL

from consumers.enriched import emission
from consumers.messages import Message
from consumers.postcall import WantedCalls
from tests.acceptance.conftest import Installation, Vapi, report, sample
from tests.integration.archived import found, opened, row
from tests.processes import AFTERCALL, RunningProcess, eventually
from tests.publishing import publish
from tests.unit.builders import enriched_call
from worker.simulate.tcp_proxy import TcpProxy

AT = 1_800_000_000.0


async def aftercall(installation: Installation, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """A command with its exit code, standard output and standard error."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
    process = await asyncio.create_subprocess_exec(
        *(AFTERCALL, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited | installation.environment_of(*arguments, **environment),
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def data(installation: Installation, *arguments: str) -> Any:
    code, out, err = await aftercall(installation, *arguments, "--output", "json")
    assert code == 0, err
    return json.loads(out)


def many(count: int, version: int = 1) -> list[Message]:
    """As many enriched calls."""
    told = []
    for number in range(count):
        call_id = f"call-{number}"
        call = {"id": call_id, "artifact": {"transcript": f"Hello number {number}, version {version}. " * 200}}
        enriched = enriched_call(callId=call_id, call=call, version=version)
        told.append(emission(enriched, source="webhook", emitted_at=AT, trace={}))
    return told


async def count(url: str) -> int:
    async with opened(url) as archive:
        return sum((await archive.counts(WantedCalls())).values())


async def archived(url: str, wanted: int) -> None:
    async def enough() -> bool:
        return await count(url) >= wanted

    await eventually(enough)


async def started(installation: Installation, url: str, **environment: str) -> RunningProcess:
    installation.environment["AFTERCALL_ARCHIVE_URL"] = url
    return await installation.started("consume", "postcall", **environment)


@asynccontextmanager
async def empty(installation: Installation, queue: str) -> AsyncIterator[None]:
    yield

    async def is_empty() -> bool:
        return await installation.depth(queue) == 0

    await eventually(is_empty)


async def test_a_call_that_ended_is_listed_shown_found_and_exported(
    installation: Installation, vapi: Vapi, archive_url: str, tmp_path: Path
) -> None:
    installation.environment["AFTERCALL_ARCHIVE_URL"] = archive_url
    call = sample("call-outbound-ended.json")
    vapi.calls[call["id"]] = call
    await installation.started("webhook")
    await installation.started("consume", "enrich", "postcall")
    await installation.post(report("outbound-ended"))
    await archived(archive_url, 1)

    (listed,) = await data(installation, "calls", "list", "--direction", "outbound", "--number", "+1 503-555-0167")
    assert (listed["callId"], listed["customerName"], listed["cost"]) == (call["id"], "Priya Raman", 0.1845)
    assert listed["structuredData"]["outcome"] == "rescheduled"
    assert await data(installation, "calls", "list", "--min-cost", "1") == []

    code, page, _ = await aftercall(installation, "calls", "show", call["id"], "--transcript")
    assert code == 0
    for told in (
        "Priya Raman",
        "$0.1845: transport 0.0210",
        "lasted 1:29",
        "QA checklist",
        "Am I speaking with Priya?",
    ):
        assert told in page
    whole = await data(installation, "calls", "show", call["id"])
    assert whole["enriched"]["call"]["artifact"]["transcript"] == whole["transcript"]

    (hit,) = await data(installation, "calls", "search", '"doctor okafor"', "book*")
    assert "Doctor **Okafor**" in (await aftercall(installation, "calls", "search", "okafor"))[1]
    assert "**book**" in hit["snippet"] or "**Doctor Okafor**" in hit["snippet"]

    code, lines, err = await aftercall(installation, "export", "--since", "3650d")
    assert (code, err) == (0, "1 call exported.\n")
    assert json.loads(lines) == whole["enriched"]
    code, text, _ = await aftercall(installation, "export", "--format", "csv")
    (line,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (line["call_id"], line["transcript"]) == (call["id"], whole["transcript"])
    file = tmp_path / "calls.parquet"
    assert (await aftercall(installation, "export", "--format", "parquet", "--to", str(file)))[0] == 0
    (cells,) = parquet.read_table(file).to_pylist()
    assert (cells["call_id"], cells["cost"], cells["ended_at"].year) == (call["id"], 0.1845, 2026)
    assert not (tmp_path / "calls.parquet.part").exists()  # a file of the test's own


async def test_an_archive_killed_under_load_loses_nothing_and_keeps_each_call_once(
    installation: Installation, archive_url: str
) -> None:
    first = await started(installation, archive_url)
    publishing = asyncio.ensure_future(publish(installation.amqp_url, [*many(500), *many(500, version=2)]))
    await archived(archive_url, 50)

    await first.kill()
    await publishing
    await started(installation, archive_url)

    async with empty(installation, "calls.postcall"):
        await archived(archive_url, 500)
    async with opened(archive_url) as archive:
        rows = await found(archive, without=("body",))
    assert len(rows) == 500
    assert {each.version for each in rows} == {2}
    assert all("version 2" in (each.transcript or "") for each in rows)


async def test_while_the_database_is_away_calls_wait_in_the_queue_and_no_attempt_is_spent(
    installation: Installation, postgresql_url: str
) -> None:
    address = URL(postgresql_url)
    async with TcpProxy(address.host or "", address.port or 0) as proxy:
        postcall = await started(installation, proxy.through(postgresql_url))
        await publish(installation.amqp_url, many(5))
        await archived(postgresql_url, 5)
        await proxy.refuse()
        proxy.cut()
        await publish(installation.amqp_url, many(50)[5:])

        await postcall.wait_for_line("AFTERCALL_ARCHIVE_URL.*archive.away")
        assert await eventually(lambda: installation.depth("calls.postcall")) == 45
        await proxy.accept()

        await archived(postgresql_url, 50)
        await postcall.wait_for_line("archive.back")
    lines = [json.loads(line) for line in postcall.text().splitlines() if "delivery.settled" in line]
    # One that was written just as its connection ended comes again, as the same row: no attempt is spent.
    assert {line["outcome"] for line in lines} - {"unsettled"} == {"acked"}


async def test_what_is_no_call_is_a_dead_letter_and_the_others_go_on(
    installation: Installation, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/archive.db"
    await started(installation, url)
    (told,) = many(1)
    rubbish = Message(exchange="calls", routing_key=told.routing_key, body=b"{", type="call.enriched")
    await publish(installation.amqp_url, [rubbish, told])

    (letter,) = await installation.take("calls.postcall.dead")

    assert letter.headers["x-aftercall-reason"] == "undecodable"
    await archived(url, 1)


async def test_what_an_account_is_to_keep_no_longer_is_deleted(installation: Installation, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/archive.db"
    hour_ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
    async with opened(url) as archive:
        for account in ("default", "acme"):
            await archive.save(row(call_id=account, account=account, call={"endedAt": hour_ago}))

        process = await started(installation, url, AFTERCALL_ACCOUNTS__ACME__ARCHIVE_KEEP_S="1800")
        await process.wait_for_line("archive.pruned")

        assert [each.account for each in await found(archive)] == ["default"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"AFTERCALL_ARCHIVE_URL": "mysql://localhost/archive"}, "is kept in sqlite:///"),
        ({"AFTERCALL_ARCHIVE_URL": "sqlite:////proc/nobody/archive.db"}, "cannot be made"),
        ({"AFTERCALL_ARCHIVE_KEEP_S": "-1"}, "AFTERCALL_ARCHIVE_KEEP_S"),
        ({"AFTERCALL_SUBSCRIBERS": "ledger"}, "AFTERCALL_SUBSCRIBERS has no postcall"),
    ],
)
async def test_an_archive_that_can_never_work_says_why_and_exits_with_64(
    installation: Installation, settings: dict[str, Any], told: str
) -> None:
    process = installation.start("consume", "postcall", **settings)

    assert await process.wait() == 64
    assert told in process.text()


async def test_what_cannot_be_done_is_one_sentence_and_a_named_exit_code(
    installation: Installation, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/archive.db"
    installation.environment["AFTERCALL_ARCHIVE_URL"] = url
    for command in (["calls", "list"], ["export"], ["replay", "--to", "crm", "--all"]):
        code, out, err = await aftercall(installation, *command)
        assert (code, out, "There is no archive yet" in err) == (69, "", True), err
    assert not (tmp_path / "archive.db").exists()
    async with opened(url) as archive:
        await archive.save(row(call_id="c"))
        await archive.save(row(call_id="c", account="acme"))
    for arguments, code, sentence in (
        (["calls", "show", "nobody"], 1, "There is no call nobody in the archive"),
        (["calls", "show", "c"], 64, "is in the accounts default, acme: say which with --account"),
        (["export", "--to", f"{tmp_path}/none/x"], 64, "No such file or directory"),
    ):
        told = await aftercall(installation, *arguments)
        assert (told[0], told[1], sentence in told[2]) == (code, "", True), told
    code, page, _ = await aftercall(installation, "calls", "show", "c", "--account", "acme")
    assert (code, "account acme" in page) == (0, True)
