"""`aftercall consume crm` as a real process, on a real broker, against a simulated HubSpot."""

import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from consumers.messages import Message
from tests.acceptance.conftest import Installation, Vapi, report, sample
from tests.acceptance.test_dead import dead
from tests.processes import RunningProcess, eventually
from tests.publishing import emitted, publish
from worker.simulate.hubspot.server import SimulatedHubSpot
from worker.simulate.hubspot.trouble import Trouble
from worker.simulate.rabbitmq import free_ports

QUEUE = "calls.crm"
DEAD = f"{QUEUE}.dead"
TOKEN = "pat-simulated"
EASY = Trouble(searches_per_s=1000, per_ten_s=100_000)


@pytest.fixture
async def hubspot(installation: Installation) -> AsyncIterator[SimulatedHubSpot]:
    async with SimulatedHubSpot(EASY) as served:
        installation.environment |= {
            "AFTERCALL_SUBSCRIBERS": "crm",
            "AFTERCALL_CRM_TOKEN": TOKEN,
            "AFTERCALL_CRM_BASE_URL": served.url,
            "AFTERCALL_CRM_RATE": "200",
        }
        yield served


def change(hubspot: SimulatedHubSpot, **changes: Any) -> None:
    hubspot.trouble = hubspot.trouble.changed(changes)


def event(call_id: str, number: str = "+14155550123", *, account: str = "default", **changes: Any) -> Message:
    call = {"id": call_id, "type": "inboundPhoneCall", "customer": {"number": number}, **changes.pop("call", {})}
    return emitted(call_id, account=account, call=call, **changes)


def logged(hubspot: SimulatedHubSpot) -> list[str]:
    return sorted(each["properties"]["aftercall_call_id"] for each in hubspot.tell()["calls"])


async def came(condition: Callable[[], Any]) -> None:
    await eventually(condition)


async def started(installation: Installation, **environment: str) -> RunningProcess:
    return await installation.started("consume", "crm", **environment)


def end_leases(folder: Path) -> None:
    """As time would: the leases that a killed process held run out."""
    with sqlite3.connect(folder / ".aftercall" / "ledger.db") as database:
        database.execute("UPDATE aftercall_inbox SET leased_until = 0")
    database.close()


async def test_a_call_that_ended_is_logged_with_its_caller_and_nothing_private_is_in_the_log(
    installation: Installation, vapi: Vapi, hubspot: SimulatedHubSpot
) -> None:
    call = sample("call-outbound-ended.json")
    vapi.calls[call["id"]] = call
    await installation.started("webhook")
    process = await installation.started("consume", "enrich", "crm")

    await installation.post(report("outbound-ended"))
    await came(lambda: logged(hubspot) == [call["id"]])

    told = hubspot.tell()
    assert told["calls"][0]["contacts"] == [told["contacts"][0]["id"]]
    assert told["contacts"][0]["properties"]["phone"] == "+15035550167"
    await process.wait_for_line('"event":"call.logged"|call.logged')
    for private in ("+15035550167", "Priya", TOKEN):
        assert private not in process.text()


async def test_however_often_an_event_comes_to_two_processes_there_is_one_engagement(
    installation: Installation, hubspot: SimulatedHubSpot
) -> None:
    change(hubspot, search_lag_s=60)
    await started(installation)
    await started(installation, AFTERCALL_ADMIN_PORT=str(free_ports(1)[0]))
    calls = [f"call-{number}" for number in range(20)]

    await publish(installation.amqp_url, [event(call_id) for call_id in calls for _ in range(5)])

    await came(lambda: logged(hubspot) == sorted(calls))
    await emptied(installation)
    assert logged(hubspot) == sorted(calls)
    assert len(hubspot.tell()["contacts"]) == 1
    assert await installation.depth(DEAD) == 0


async def test_an_amendment_updates_the_engagement_and_an_older_event_does_not(
    installation: Installation, hubspot: SimulatedHubSpot
) -> None:
    process = await started(installation)
    first = event("call-1", complete=False, missing=["analysis"])
    amendment = event("call-1", version=2, call={"analysis": {"summary": "They agreed."}})

    await publish(installation.amqp_url, [first])
    await came(lambda: logged(hubspot) == ["call-1"])
    await publish(installation.amqp_url, [amendment])
    await came(lambda: "They agreed." in hubspot.tell()["calls"][0]["properties"]["hs_call_body"])
    await publish(installation.amqp_url, [event("call-1", complete=False, missing=["analysis", "cost"])])

    await settled(process, 3)
    (call,) = hubspot.tell()["calls"]
    assert "They agreed." in call["properties"]["hs_call_body"]
    assert len(call["contacts"]) == 1


async def test_a_process_killed_between_creating_and_acknowledging_leaves_one_engagement(
    installation: Installation, hubspot: SimulatedHubSpot, tmp_path: Path
) -> None:
    first = await started(installation)
    await publish(installation.amqp_url, [event("call-0")])
    await settled(first, 1)
    change(hubspot, acts_then_waits_s=3600, search_lag_s=3600)

    await publish(installation.amqp_url, [event("call-1"), event("call-2", "+14155550177")])
    await came(lambda: "call-1" in logged(hubspot) and len(hubspot.tell()["contacts"]) == 2)
    await first.kill()
    end_leases(tmp_path)
    change(hubspot, acts_then_waits_s=0)
    second = await started(installation)

    await settled(second, 2)
    assert logged(hubspot) == ["call-0", "call-1", "call-2"]
    assert len(hubspot.tell()["contacts"]) == 2
    assert all(len(each["contacts"]) == 1 for each in hubspot.tell()["calls"])


async def test_a_wrong_token_buries_no_call_and_stops_no_other_account(
    installation: Installation, hubspot: SimulatedHubSpot, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("pat-wrong")
    installation.environment |= {
        "AFTERCALL_ACCOUNTS__ACME__CRM_TOKEN_FILE": str(tmp_path / "token"),
        "AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY": "k",
    }
    process = await started(installation)
    ours = [f"ours-{number}" for number in range(10)]
    theirs = [f"theirs-{number}" for number in range(10)]
    both = [event(ours[n]) for n in range(10)] + [event(theirs[n], account="acme") for n in range(10)]

    await publish(installation.amqp_url, both)
    await came(lambda: logged(hubspot) == sorted(ours))
    await process.wait_for_line(r'"api":"hubspot","account":"acme".*breaker\.opened')
    assert "refuses the token of account acme (401)" in process.text()

    (tmp_path / "token").write_text(TOKEN)
    await came(lambda: logged(hubspot) == sorted(ours + theirs))
    await process.wait_for_line("breaker.closed")
    assert await installation.depth(DEAD) == 0
    assert "pat-wrong" not in process.text()


async def test_a_value_that_hubspot_refuses_is_a_dead_letter_with_its_words_and_the_others_go_on(
    installation: Installation, hubspot: SimulatedHubSpot, tmp_path: Path
) -> None:
    (tmp_path / "aftercall.toml").write_text('[crm.call_properties]\nhs_call_duration = "call.metadata.ms"\n')
    await started(installation)
    values = ["1000"] * 9
    values.insert(4, "a long while")

    await publish(
        installation.amqp_url,
        [event(f"call-{n}", call={"metadata": {"ms": value}}) for n, value in enumerate(values)],
    )
    await came(lambda: len(logged(hubspot)) == 9)

    (letter,) = await installation.take(DEAD)
    assert letter.headers["x-aftercall-reason"] == "rejected"
    assert "<hs_call_duration> was not a valid number" in str(letter.headers["x-aftercall-detail"])
    assert letter.correlation_id == "call-4"


async def test_a_letter_that_is_replayed_after_the_mend_is_logged(
    installation: Installation, hubspot: SimulatedHubSpot, tmp_path: Path
) -> None:
    (tmp_path / "aftercall.toml").write_text('[crm.call_properties]\nscore = "call.metadata.score"\n')
    first = await started(installation)
    await publish(installation.amqp_url, [event("call-1", call={"metadata": {"score": 7}})])
    await eventually(lambda: installation.depth(DEAD))

    await first.terminate()
    (tmp_path / "aftercall.toml").write_text("[crm]\n")
    code, _out, _err = await dead(installation, "replay", "--queue", QUEUE)
    await started(installation)

    assert code == 0
    await came(lambda: logged(hubspot) == ["call-1"])


async def test_a_storm_of_limits_and_errors_loses_nothing_and_doubles_nothing(
    installation: Installation, hubspot: SimulatedHubSpot
) -> None:
    change(hubspot, rate_limited=0.2, server_error=0.1, lost=0.1, retry_after_s=1, search_lag_s=5)
    await started(installation)
    calls = [f"call-{number}" for number in range(40)]

    await publish(installation.amqp_url, [event(call_id) for call_id in calls])
    await came(lambda: len(logged(hubspot)) >= 10)
    change(hubspot, rate_limited=0, server_error=0, lost=0, retry_after_s=0)

    await came(lambda: logged(hubspot) == sorted(calls))
    await emptied(installation)
    assert logged(hubspot) == sorted(calls)
    assert len(hubspot.tell()["contacts"]) == 1
    assert await installation.depth(DEAD) == 0


async def test_calls_of_an_account_without_a_token_and_those_a_rule_leaves_out_are_let_go_and_counted(
    installation: Installation, hubspot: SimulatedHubSpot, tmp_path: Path
) -> None:
    (tmp_path / "aftercall.toml").write_text('[crm]\nskip = [{path = "call.metadata.test", equals = true}]\n')
    installation.environment["AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY"] = "k"
    process = await started(installation)

    await publish(
        installation.amqp_url,
        [event("theirs", account="acme"), event("test", call={"metadata": {"test": True}}), event("ours")],
    )
    await settled(process, 3)

    assert logged(hubspot) == ["ours"]
    assert await installation.depth(DEAD) == 0
    metrics = (await process.wait_for_url(installation.probe("consume", "metrics"))).decode()
    for told in ('account="acme",verdict="unset"', 'verdict="skipped"', 'account="default",verdict="created"'):
        assert any(told in line and line.endswith(" 1.0") for line in metrics.splitlines()), told
    assert "crm.unset" in process.text()


async def test_the_simulated_hubspot_runs_as_a_process_of_its_own(
    installation: Installation, start_process: Callable[..., RunningProcess]
) -> None:
    command = (sys.executable, "-m", "worker.simulate.hubspot", "--token", "pat-own", "--faults", "search_lag_s=5")
    served = start_process(*command, environment={"PYTHONPATH": str(Path(__file__).parents[2])})
    url = (await served.wait_for_line(r"HubSpot is simulated at (\S+)"))[1]
    installation.environment |= {
        "AFTERCALL_SUBSCRIBERS": "crm",
        "AFTERCALL_CRM_TOKEN": "pat-own",
        "AFTERCALL_CRM_BASE_URL": url,
    }
    await started(installation)

    await publish(installation.amqp_url, [event("call-1"), event("call-2")])

    async def both() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{url}/_simulate/account") as answer:
            told = await answer.json()
        return len(told["calls"]) == 2 and len(told["contacts"]) == 1

    await eventually(both)
    assert await served.terminate() == 0


async def settled(process: RunningProcess, count: int) -> None:
    await eventually(lambda: process.text().count("delivery.settled") >= count)


async def emptied(installation: Installation) -> None:
    """Until nothing waits any more, in the queue or in a tier."""

    async def is_empty() -> bool:
        queues = (QUEUE, *(f"calls.retry.{tier}" for tier in ("1s", "2s", "4s")))
        return not any([await installation.depth(queue) for queue in queues])

    await eventually(is_empty)
