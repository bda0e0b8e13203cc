"""`aftercall consume alerts` as a real process, on a real broker, telling a real HTTP target."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from yarl import URL

from consumers.enriched import emission
from consumers.messages import Message
from consumers.timestamps import iso
from tests.acceptance.conftest import Installation
from tests.processes import AFTERCALL, RunningProcess, eventually
from tests.publishing import publish
from tests.unit.alerts import failed
from tests.unit.builders import enriched_call
from worker.simulate.target import Answer, Target
from worker.simulate.tcp_proxy import TcpProxy

PACE = "[alerts]\ngroup_wait_s = 3\nover_after_s = 6\n"
SILENCE = """
[[alerts.rules]]
name = "silence"
measure = "calls"
window_s = 4
below = 1
"""


def failures(count: int, first: int = 0) -> list[Message]:
    now = time.time()
    calls = (failed(f"call-{number}", iso(now)) for number in range(first, first + count))
    return [emission(call, source="webhook", emitted_at=now, trace={}) for call in calls]


@pytest.fixture(autouse=True)
def rules(tmp_path: Path) -> Callable[[str], None]:
    def write(text: str) -> None:
        (tmp_path / "aftercall.toml").write_text(text)

    write(PACE)
    return write


async def started(installation: Installation, url: str, **environment: str) -> RunningProcess:
    return await installation.started("consume", "alerts", AFTERCALL_ALERTS_URLS=url, **environment)


def titles(target: Target) -> list[str]:
    return [json.loads(each["body"])["title"] for each in target.received]


async def told(target: Target, count: int) -> list[str]:
    await eventually(lambda: len(target.received) >= count)
    return titles(target)


async def test_a_storm_is_one_message_and_one_when_it_is_over(
    installation: Installation, target: Target, apprise_url: str
) -> None:
    alerts = await started(installation, apprise_url)
    await publish(installation.amqp_url, failures(5000))

    raised, over = await told(target, 2)

    (count,) = re.findall(r"^failed calls: ([\d,]+) calls \(account default\)$", raised)
    gathered = int(count.replace(",", ""))
    assert 3 < gathered <= 5000
    assert over == "failed calls: over: 5,000 calls (account default)"
    first, last = (json.loads(each["body"])["message"] for each in target.received)
    assert first.count("pipeline-error-openai-llm-failed") == 3
    assert f"and {gathered - 3:,} more" in first
    assert "  aftercall explain call-" in first
    assert "It is over." in last
    assert [json.loads(line)["event"] for line in alerts.text().splitlines() if '"alert.' in line] == [
        "alert.raised",
        "alert.over",
    ]
    assert await installation.depth("calls.alerts") == 0
    metrics = (await alerts.wait_for_url(installation.probe("consume", "metrics"))).decode()
    assert 'aftercall_alerts_total{rule="failed calls",what="raised"} 1.0' in metrics
    assert 'aftercall_alert_messages_total{outcome="sent",target="default"} 2.0' in metrics


async def test_a_process_that_is_killed_in_the_midst_neither_repeats_nor_loses(
    installation: Installation, target: Target, apprise_url: str
) -> None:
    alerts = await started(installation, apprise_url)
    await publish(installation.amqp_url, failures(300))
    await told(target, 1)
    await publish(installation.amqp_url, failures(500, first=250))
    await alerts.kill()

    await started(installation, apprise_url)

    assert (await told(target, 2))[1:] == ["failed calls: over: 750 calls (account default)"]


async def test_silence_is_told_and_that_it_is_over(
    installation: Installation, target: Target, apprise_url: str, rules: Callable[[str], None]
) -> None:
    rules(PACE + SILENCE)
    await started(installation, apprise_url)

    assert await told(target, 1) == ["silence: no calls (account default)"]
    body = json.loads(target.received[0]["body"])["message"]
    assert "Account default: no calls within 4 s: below 1." in body
    assert "aftercall doctor" in body

    async def calls_come() -> bool:
        call = enriched_call(callId=f"call-{time.time()}", timeline=_now())
        await publish(installation.amqp_url, [emission(call, source="webhook", emitted_at=time.time(), trace={})])
        return len(target.received) > 1

    await eventually(calls_come)
    assert titles(target)[1] == "silence: over: at worst no calls (account default)"


def _now() -> dict[str, object]:
    at = iso(time.time())
    return {"endedAt": at, "receivedAt": at, "fetchedAt": at, "emittedAt": at, "attempts": 1}


async def test_a_target_that_was_down_is_told_and_the_queue_does_not_wait_for_it(
    installation: Installation, target: Target, apprise_url: str, rules: Callable[[str], None]
) -> None:
    rules(PACE.replace("over_after_s = 6", "over_after_s = 600"))
    target.answer = Answer(status=503)
    alerts = await started(installation, apprise_url)
    await publish(installation.amqp_url, failures(20))
    await alerts.wait_for_line('"rule":"failed calls".*alert.untold')
    assert await installation.depth("calls.alerts") == 0
    tries = len(target.received)

    target.answer = Answer()

    assert (await told(target, tries + 1))[tries:] == ["failed calls: 20 calls (account default)"]


async def test_while_the_database_is_away_the_queue_waits(
    installation: Installation, target: Target, apprise_url: str, postgresql_url: str
) -> None:
    address = URL(postgresql_url)
    async with TcpProxy(address.host or "", address.port or 0) as proxy:
        alerts = await started(installation, apprise_url, AFTERCALL_LEDGER_URL=proxy.through(postgresql_url))
        await proxy.refuse()
        proxy.cut()
        await publish(installation.amqp_url, failures(30))
        await alerts.wait_for_line("alerts.away")
        await alerts.wait_for_line("AFTERCALL_LEDGER_URL.*alerts.silenced")
        assert await eventually(lambda: installation.depth("calls.alerts")) == 30
        await proxy.accept()

        assert await told(target, 2) == [
            "failed calls: 30 calls (account default)",
            "failed calls: over: 30 calls (account default)",
        ]
    assert await installation.depth("calls.alerts.dead") == 0


async def test_a_wrong_rule_keeps_it_from_starting(
    installation: Installation, rules: Callable[[str], None], apprise_url: str
) -> None:
    rules('[alerts]\n\n[[alerts.rules]]\nname = "dear"\nwhen = [{path = "facts.price", above = 1}]\n')
    alerts = installation.start("consume", "alerts", AFTERCALL_ALERTS_URLS=apprise_url)

    assert await alerts.wait() == 64
    assert "aftercall.toml, line 5: alerts.rules[0].when[0].path: 'facts.price': facts has no 'price'" in alerts.text()


async def test_targets_that_nobody_can_tell_keep_it_from_starting(
    installation: Installation, rules: Callable[[str], None]
) -> None:
    rules('[[alerts.rules]]\nname = "failed"\nresult = "failed"\nto = ["ops"]\n')
    unnamed = installation.start("consume", "alerts", AFTERCALL_ALERTS_URLS="json://127.0.0.1")
    unknown = installation.start("consume", "alerts", AFTERCALL_ALERTS_URLS="ops=slak://xoxb-secret")

    assert [await unnamed.wait(), await unknown.wait()] == [64, 64]
    assert "rule 'failed' tells ops: add ops=<Apprise URL> to AFTERCALL_ALERTS_URLS" in unnamed.text()
    assert "AFTERCALL_ALERTS_URLS: ops: Apprise knows no such URL" in unknown.text()
    assert "xoxb" not in unknown.text()


async def test_a_test_message_tells_whom_it_reached(
    installation: Installation, target: Target, apprise_url: str, free_port: int
) -> None:
    urls = f"{apprise_url}/ops down=json://127.0.0.1:{free_port}"
    good = installation.start("alerts", "test", AFTERCALL_ALERTS_URLS=apprise_url)
    bad = installation.start("alerts", "test", "--output", "json", AFTERCALL_ALERTS_URLS=urls)
    no_rule = installation.start("alerts", "test", "--rule", "dear", AFTERCALL_ALERTS_URLS=apprise_url)
    nobody = installation.start("alerts", "test")

    assert [await each.wait() for each in (good, bad, no_rule, nobody)] == [0, 69, 64, 64]
    assert set(titles(target)) == {"TEST, nothing happened: failed calls: 1 call (account default)"}
    rows = json.loads(bad.text())
    assert rows[0] == {"target": "default", "told": "yes"}
    assert rows[1]["told"].startswith("no: A Connection error")
    assert "the rules are 'failed calls'" in no_rule.text()
    assert "alerts are only logged" in nobody.text()


async def test_the_simulated_target_runs_by_itself(
    start_process: Callable[..., RunningProcess], free_port: int
) -> None:
    python = str(Path(AFTERCALL).with_name("python"))
    process = start_process(python, "-m", "worker.simulate.target", "--port", str(free_port))
    await process.wait_for_line(f"http://127.0.0.1:{free_port}")
    assert await process.wait_for_url(f"http://127.0.0.1:{free_port}/hook/status/418", status=418) == b'{"ok": true}'

    (came,) = json.loads(await process.wait_for_url(f"http://127.0.0.1:{free_port}/_simulate/received"))

    assert (came["method"], came["path"], came["body"]) == ("GET", "/hook/status/418", "")
