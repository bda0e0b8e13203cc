"""`aftercall doctor` as a real process, on an installation of real processes and the simulated Vapi."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import pytest
from yarl import URL

from tests.acceptance.conftest import KEY, Installation
from worker.simulate.api.sender import Sender
from worker.simulate.rabbitmq import Broker
from worker.simulate.vapi import SimulatedVapi, SimulatorSettings

Findings = list[dict[str, str]]


@pytest.fixture
async def simulated(installation: Installation) -> AsyncIterator[SimulatedVapi]:
    async with SimulatedVapi(SimulatorSettings(api_key=KEY, webhook_url=installation.endpoint)) as vapi:
        yield vapi


@pytest.fixture
def healthy(installation: Installation, simulated: SimulatedVapi, broker: Broker) -> Installation:
    """An installation whose doctor has all he asks for, once its roles are started."""
    installation.environment |= {
        "AFTERCALL_VAPI_BASE_URL": simulated.url,
        "AFTERCALL_AMQP_MANAGEMENT_URL": broker.management_url or "",
        "AFTERCALL_SUBSCRIBERS": "ledger",
    }
    return installation


async def examined(installation: Installation, *options: str, **environment: str) -> tuple[int, Findings]:
    process = installation.start("doctor", "--output", "json", *options, **environment)
    code = await process.wait()
    return code, json.loads(process.text())


def of(findings: Findings, status: str) -> Findings:
    """The findings of that status; the age of this machine's own RabbitMQ is nobody's fault."""
    return [each for each in findings if each["status"] == status and not each["detail"].startswith("RabbitMQ ")]


async def test_a_healthy_installation_has_nothing_wrong(healthy: Installation) -> None:
    await healthy.started("webhook")
    subscribers = {"AFTERCALL_SUBSCRIBERS": "ledger,postcall"}
    await healthy.started("consume", "enrich", "ledger", "postcall", **subscribers)

    code, findings = await examined(healthy, "--public-url", healthy.endpoint, **subscribers)

    assert of(findings, "fail") == []
    assert [(each["check"], each["detail"]) for each in of(findings, "warn")] == [
        ("sender default", "organisation not checked: the key does not allow it (403)")
    ]
    assert {each["check"] for each in of(findings, "ok")} == {
        *("permissions", "topology", "consumers", "dead letters", "spool", "ledger", "archive", "clock"),
        *("webhook secret default", "vapi key default", "sender default", "public url"),
    }
    assert code == 0


async def test_what_is_broken_at_the_broker_is_named_with_its_mend(healthy: Installation) -> None:
    await healthy.started("webhook")
    async with await aio_pika.connect(healthy.amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete("calls.enrich.default.dead")
        ledger = await channel.get_queue("calls.ledger", ensure=False)
        await ledger.unbind("calls", "call.amended.#")
        await channel.default_exchange.publish(aio_pika.Message(b"lost"), "calls.unrouted")

    code, findings = await examined(healthy)

    assert code == 1
    named = {(each["check"], each["status"], each["detail"]): each["mend"] for each in findings}
    missing = "queue calls.enrich.default.dead is missing"
    assert named[("topology", "fail", missing)] == "aftercall topology apply"
    unbound = "binding of queue calls.ledger to exchange calls by 'call.amended.#' is missing"
    assert named[("topology", "fail", unbound)] == "aftercall topology apply"
    lonely = "calls.enrich.default has no consumer, 0 waiting"
    assert "`aftercall consume enrich`" in named[("consumers", "fail", lonely)]
    assert ("consumers", "fail", "calls.ledger has no consumer, 0 waiting") in named
    assert named[("dead letters", "warn", "1 in calls.unrouted")] == "aftercall dead groups --queue calls.unrouted"


async def test_a_subscriber_that_does_not_run_is_named_with_the_command_that_starts_it(healthy: Installation) -> None:
    subscribers = {"AFTERCALL_SUBSCRIBERS": "ledger,postcall"}
    await healthy.started("webhook", **subscribers)

    _, findings = await examined(healthy, **subscribers)

    (lonely,) = (each for each in findings if "calls.postcall has no consumer" in each["detail"])
    assert lonely["status"] == "warn"
    assert "start `aftercall consume postcall`, or take postcall out of" in lonely["mend"]


async def test_without_the_management_api_the_doctor_and_the_check_name_one_mend(healthy: Installation) -> None:
    await healthy.started("webhook")
    nowhere = {"AFTERCALL_AMQP_MANAGEMENT_URL": "http://127.0.0.1:1"}

    _, findings = await examined(healthy, **nowhere)
    check = healthy.start("topology", "check", **nowhere)
    await check.wait()

    (finding,) = (each for each in findings if each["check"] == "topology" and each["status"] == "warn")
    told = "bindings and policies, for lack of the management API (at 127.0.0.1:1: Cannot connect to host 127.0.0.1:1"
    assert told in finding["detail"]
    assert told in check.text()
    assert "rabbitmq-plugins enable rabbitmq_management" in finding["mend"]
    assert f"mend: {finding['mend']}\n" in check.text()


async def test_a_user_without_rights_is_told_which(healthy: Installation, broker: Broker) -> None:
    await healthy.started("webhook")
    async with _user(broker, healthy, configure="^$", write="^calls$", read="^calls\\.enrich") as url:
        _, findings = await examined(healthy, AFTERCALL_AMQP_URL=url, AFTERCALL_TOPOLOGY="check")

    (finding,) = (each for each in findings if each["check"] == "permissions")
    assert finding["status"] == "fail"
    assert "may not publish to calls.dead, publish to calls.retry.1s" in finding["detail"]
    assert "consume calls.ledger, consume calls.unrouted" in finding["detail"]
    assert "consume calls.enrich.default" not in finding["detail"]
    assert "declare" not in finding["detail"]
    assert finding["mend"].startswith("rabbitmqctl set_permissions -p")


@asynccontextmanager
async def _user(broker: Broker, installation: Installation, **rights: str) -> AsyncIterator[str]:
    """A user with these rights in the installation's virtual host; its AMQP URL."""
    management, amqp = URL(broker.management_url or ""), URL(installation.amqp_url)
    name, vhost = f"user-{amqp.path[1:]}", amqp.path[1:]
    login = {"Authorization": aiohttp.encode_basic_auth(management.user or "", management.password or "")}
    async with aiohttp.ClientSession(management.with_user(None), headers=login, raise_for_status=True) as session:
        await session.put(f"/api/users/{name}", json={"password": "pw", "tags": ""})
        await session.put(f"/api/permissions/{vhost}/{name}", json=rights)
        yield str(amqp.with_user(name).with_password("pw"))
        await session.delete(f"/api/users/{name}")


async def test_a_refused_key_is_a_failure_and_explains_an_enricher_that_pauses(healthy: Installation) -> None:
    await healthy.started("webhook")

    code, findings = await examined(healthy, AFTERCALL_VAPI_API_KEY="wrong")

    assert code == 1
    (key,) = (each for each in findings if each["check"] == "vapi key default")
    assert (key["status"], key["detail"]) == ("fail", "Vapi refuses it (401)")
    assert key["mend"] == "set AFTERCALL_VAPI_API_KEY to the organisation's private key"
    (paused,) = (each for each in findings if "calls.enrich.default has no consumer" in each["detail"])
    assert paused["status"] == "warn"
    assert "wrong" not in json.dumps(findings)


async def test_a_spool_that_cannot_be_written_and_databases_away_are_failures(
    healthy: Installation, tmp_path: Path
) -> None:
    read_only = tmp_path / "read-only"
    read_only.mkdir(mode=0o500)
    folder = "/proc/nobody/spool" if os.geteuid() == 0 else str(read_only)  # root may write anywhere else

    nowhere = "postgresql://nobody@127.0.0.1:1/none"

    code, findings = await examined(
        healthy, AFTERCALL_SPOOL_DIR=folder, AFTERCALL_LEDGER_URL=nowhere, AFTERCALL_ARCHIVE_URL=nowhere
    )

    assert code == 1
    failing = {each["check"]: each["mend"] for each in of(findings, "fail")}
    assert failing["spool"].startswith("AFTERCALL_SPOOL_DIR: name a folder")
    assert "AFTERCALL_LEDGER_URL" in failing["ledger"]
    assert "AFTERCALL_ARCHIVE_URL" in failing["archive"]


async def test_an_archive_is_looked_at_where_it_is_named_and_need_not_be_there_where_nothing_fills_it(
    healthy: Installation, tmp_path: Path
) -> None:
    named = {"AFTERCALL_ARCHIVE_URL": f"sqlite:///{tmp_path}/none.db"}

    runs = [await examined(healthy, **environment) for environment in ({}, named)]
    _, wanted = await examined(healthy, AFTERCALL_SUBSCRIBERS="ledger,postcall", **named)

    told = [[each["status"] for each in findings if each["check"] == "archive"] for _, findings in runs]
    assert told == [[], ["ok"]]
    assert [each["detail"] for each in wanted if each["check"] == "archive"] == ["there is none yet"]
    assert not (tmp_path / "none.db").exists()


async def test_a_sender_that_would_lose_calls_is_named_with_the_request_that_mends_it(
    healthy: Installation, simulated: SimulatedVapi
) -> None:
    (one, two, *_) = simulated.sender.assistants
    forgetful: dict[str, Any] = {**one, "server": {**one["server"], "backoffPlan": None, "secret": "hush"}}
    elsewhere: dict[str, Any] = {**two, "server": {"url": "https://crm.example.com/hook"}}
    simulated.sender = Sender(assistants=(forgetful, elsewhere))

    _, findings = await examined(healthy)

    told = {each["detail"]: each for each in findings if each["check"] == "sender default"}
    once = told[f"assistant {one['name']}: has no backoffPlan: a report that fails once is never sent again"]
    assert once["status"] == "warn"
    assert f"curl -X PATCH {simulated.url}/assistant/{one['id']} " in once["mend"]
    assert '"backoffPlan":{"type":"exponential","maxRetries":10,"baseDelaySeconds":5' in once["mend"]
    assert any(f"assistant {two['name']}: posts to crm.example.com" in detail for detail in told)
    assert "hush" not in json.dumps(findings)


async def test_where_nothing_can_be_reached_every_finding_still_has_its_mend(installation: Installation) -> None:
    process = installation.start(
        "doctor", AFTERCALL_AMQP_URL="amqp://guest:guest@127.0.0.1:1/", AFTERCALL_VAPI_BASE_URL="http://127.0.0.1:1"
    )

    assert await process.wait(15) == 1
    assert "FAIL  broker" in process.text()
    assert "nothing listens at AFTERCALL_AMQP_URL" in process.text()
    assert "FAIL  vapi key default" in process.text()
    assert process.text().count("mend: ") >= 3
    assert "guest:guest" not in process.text()


async def test_settings_that_cannot_be_read_are_a_usage_error(installation: Installation) -> None:
    assert await installation.start("doctor", AFTERCALL_PREFETCH="none").wait() == 64
