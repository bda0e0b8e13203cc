"""`aftercall alerts preview` as a real process, over a real archive."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consumers.enriched import EnrichedCall
from consumers.postcall import row_of
from consumers.timestamps import iso
from tests.processes import AFTERCALL, RunningProcess
from tests.unit.alerts import AT, failed
from tests.unit.builders import archivable, enriched_call
from worker.clients.archive.archive import open_archive
from worker.settings import load

RULES = """
[alerts]
group_wait_s = 30
over_after_s = 600

[[alerts.rules]]
name = "failed calls"
result = "failed"

[[alerts.rules]]
name = "silence"
measure = "calls"
window_s = 1800
below = 1
"""
Start = Callable[..., RunningProcess]


@pytest.fixture
def archive_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/archive.db"


async def archive(url: str, *calls: EnrichedCall) -> None:
    async with open_archive(load({"AFTERCALL_ARCHIVE_URL": url})) as kept:
        for call in calls:
            await kept.save(row_of(archivable(call, AT), AT))


def call_at(after_s: float, *, fails: bool = True, **call: Any) -> EnrichedCall:
    at = iso(AT + after_s)
    told = failed(f"call-{after_s}", at, call={"id": f"call-{after_s}", "endedAt": at, **call})
    if fails:
        return told
    timeline = {"endedAt": at, "receivedAt": at, "fetchedAt": at, "emittedAt": at, "attempts": 1}
    return enriched_call(callId=told.call_id, call=told.call, timeline=timeline)


def preview(start: Start, url: str, *more: str, until: float) -> RunningProcess:
    times = ("--since", iso(AT), "--until", iso(AT + until))
    return start(AFTERCALL, "alerts", "preview", *times, *more, environment={"AFTERCALL_ARCHIVE_URL": url})


async def test_what_the_rules_would_have_said_of_archived_calls(
    start_process: Start, tmp_path: Path, archive_url: str
) -> None:
    (tmp_path / "aftercall.toml").write_text(RULES)
    large = {"artifact": {"transcript": "Hello. " * 300_000}}  # travels gzipped
    await archive(archive_url, *(call_at(after_s) for after_s in (101, 103, 111)), call_at(400, fails=False, **large))

    text = preview(start_process, archive_url, until=5000)
    as_json = preview(start_process, archive_url, "--output", "json", "--rule", "failed calls", until=5000)

    assert [await text.wait(), await as_json.wait()] == [0, 0]
    printed = text.text()
    assert "2027-01-15T08:02:20.000Z  raised    failed calls: 3 calls (account default)" in printed
    assert "  call-111: pipeline-error-openai-llm-failed\n" in printed
    assert "over      failed calls: over: 3 calls (account default)" in printed
    assert "raised    silence: no calls (account default)" in printed
    assert "4 archived calls from 2027-01-15T08:00:00.000Z to 2027-01-15T09:23:20.000Z, 3 messages." in printed
    rows, _, summary = as_json.text().rpartition("]")
    assert [(row["what"], row["rule"], row["account"]) for row in json.loads(rows + "]")] == [
        ("raised", "failed calls", "default"),
        ("over", "failed calls", "default"),
    ]
    assert "4 archived calls" in summary


async def test_an_archive_without_calls_has_nothing_to_tell_of(start_process: Start, archive_url: str) -> None:
    await archive(archive_url)
    asked = preview(start_process, archive_url, until=5000)

    assert await asked.wait() == 0
    assert "0 archived calls" in asked.text()
    assert "0 messages" in asked.text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--since", "yesterday"), "--since yesterday: a duration such as 24h"),
        (("--rule", "dear"), "--rule 'dear': the rules are 'failed calls'"),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(
    start_process: Start, arguments: tuple[str, ...], told: str
) -> None:
    asked = start_process(AFTERCALL, "alerts", "preview", *arguments)

    assert await asked.wait() == 64
    assert told in asked.text()


async def test_without_an_archive_it_says_what_makes_one(start_process: Start, archive_url: str) -> None:
    asked = preview(start_process, archive_url, until=100)

    assert await asked.wait() == 69
    assert "There is no archive yet: `aftercall consume postcall` makes it." in asked.text()


async def test_an_archive_that_does_not_answer_is_unreachable(start_process: Start, free_port: int) -> None:
    asked = preview(start_process, f"postgresql://u@127.0.0.1:{free_port}/none", until=100)

    assert await asked.wait() == 69
    assert "AFTERCALL_ARCHIVE_URL" in asked.text()
