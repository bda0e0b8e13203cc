"""`aftercall consume forward` as a real process, on a real broker, with real servers to post to."""

import asyncio
import base64
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.acceptance.conftest import Installation, Vapi, report, sample
from tests.acceptance.test_dead import dead
from tests.processes import PATIENCE_S, RunningProcess, eventually
from tests.publishing import emitted, publish
from worker.simulate.target import Answer, Target, served

QUEUE = "calls.forward"
DEAD = f"{QUEUE}.dead"
SECRET = f"whsec_{base64.b64encode(b'k' * 24).decode()}"


class Targets:
    """The targets `a` and `b`, each a server of its own."""

    def __init__(self, urls: dict[str, str], servers: dict[str, Target], folder: Path) -> None:
        self._urls = urls
        self._servers = servers
        self._folder = folder

    def configured(self, **lines: str) -> None:
        tables = [
            f'[forward.{name}]\nurl = "{self._urls[name]}/hook"\nallow_private = true\n{more}\n'
            for name, more in lines.items()
        ]
        (self._folder / "aftercall.toml").write_text("".join(tables))

    def answers(self, name: str, **changes: Any) -> None:
        self._servers[name].answer = Answer(**changes)

    def received(self, name: str) -> list[dict[str, Any]]:
        return self._servers[name].received

    def calls(self, name: str) -> Counter[str]:
        """How often each call came in."""
        return Counter(json.loads(each["body"])["callId"] for each in self.received(name))


@pytest.fixture
async def targets(tmp_path: Path, installation: Installation) -> AsyncIterator[Targets]:
    installation.environment |= {"AFTERCALL_SUBSCRIBERS": "forward"}
    async with AsyncExitStack() as stack:
        servers = {name: Target() for name in "ab"}
        urls = {name: await stack.enter_async_context(served(server)) for name, server in servers.items()}
        yield Targets(urls, servers, tmp_path)


async def started(installation: Installation, **environment: str) -> RunningProcess:
    return await installation.started("consume", "forward", **environment)


async def came(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    await eventually(condition, within_s)


async def settled(process: RunningProcess, count: int) -> list[dict[str, Any]]:
    """What the log tells of the settlements, once there are so many."""

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in process.text().splitlines() if "delivery.settled" in line]
        return found if len(found) >= count else []

    return await eventually(lines)


async def test_a_call_that_ended_is_posted_signed_whole_to_one_target_and_in_part_to_another(
    installation: Installation, vapi: Vapi, targets: Targets
) -> None:
    call = sample("call-outbound-ended.json")
    vapi.calls[call["id"]] = call
    targets.configured(a="", b='body = {phone = "facts.customer_number", why = "outcome.result"}')
    await installation.started("webhook")
    secrets = {"AFTERCALL_FORWARD_SECRETS": f"a={SECRET},b=X-Api-Key: of-mine"}
    process = await installation.started("consume", "enrich", "forward", **secrets)

    await installation.post(report("outbound-ended"))
    await came(lambda: bool(targets.received("a") and targets.received("b")))

    (whole,), (part,) = targets.received("a"), targets.received("b")
    assert Webhook(SECRET).verify(whole["body"], whole["headers"])["call"]["id"] == call["id"]
    assert json.loads(part["body"]) == {"phone": "+15035550167", "why": "completed"}
    assert part["headers"]["x-api-key"] == "of-mine"
    assert whole["headers"]["webhook-id"] == part["headers"]["webhook-id"]
    assert whole["headers"]["webhook-id"].startswith(f"default/{call['id']}/")
    for private in ("+15035550167", "Priya", "of-mine", SECRET):
        assert private not in process.text()


async def test_a_target_that_never_answers_costs_the_other_nothing(
    installation: Installation, targets: Targets
) -> None:
    targets.configured(a="", b="timeout_s = 8")
    targets.answers("b", delay_s=3600)
    process = await started(installation)

    await publish(installation.amqp_url, [emitted(f"call-{number}") for number in range(300)])

    await came(lambda: len(targets.calls("a")) == 300, within_s=6)
    assert len(targets.received("b")) <= 16  # half of what may be in hand
    await process.wait_for_line("forward.paused")
    targets.answers("b")
    await came(lambda: len(targets.calls("b")) == 300)
    assert targets.calls("a").most_common(1)[0][1] == 1
    assert await installation.depth(DEAD) == 0


async def test_a_target_in_trouble_is_tried_again_and_the_other_is_posted_each_call_once(
    installation: Installation, targets: Targets
) -> None:
    targets.configured(a="", b="")
    targets.answers("b", status=500)
    await started(installation)
    await publish(installation.amqp_url, [emitted(f"call-{number}") for number in range(5)])
    await came(lambda: min(targets.calls("b").values(), default=0) >= 2)

    targets.answers("b")
    tried = len(targets.received("b"))
    await came(lambda: len(targets.received("b")) >= tried + 5)

    await came(lambda: len(targets.calls("b")) == 5)
    assert targets.calls("a") == {f"call-{number}": 1 for number in range(5)}
    ids = {(json.loads(each["body"])["callId"], each["headers"]["webhook-id"]) for each in targets.received("b")}
    assert len(ids) == 5


async def test_a_refusal_waits_for_the_others_and_its_replay_goes_to_nobody_else(
    installation: Installation, targets: Targets
) -> None:
    targets.configured(a="", b="")
    targets.answers("a", status=503)
    targets.answers("b", status=422, body="no such list")
    process = await started(installation)
    await publish(installation.amqp_url, [emitted("call-0")])
    lines = await settled(process, 2)
    assert [line["outcome"] for line in lines] == ["retried", "retried"]
    assert lines[1]["detail"].endswith("b answers 422: “…”")

    targets.answers("a")
    (letter,) = await eventually(lambda: _letters(installation))
    assert (letter["queue"], letter["reason"], letter["count"]) == (QUEUE, "rejected", 1)
    assert len(targets.received("b")) == 1
    answered = len(targets.received("a"))

    targets.answers("b")
    code, _, told = await dead(installation, "replay", "--queue", "forward")
    assert code == 0, told
    await came(lambda: len(targets.received("b")) == 2)
    await settled(process, len(lines) + 2)
    assert len(targets.received("a")) == answered
    assert await installation.depth(DEAD) == 0


async def _letters(installation: Installation) -> list[dict[str, Any]]:
    _, out, _ = await dead(installation, "groups", "--output", "json")
    found: list[dict[str, Any]] = json.loads(out)
    return found


async def test_a_target_that_is_gone_gets_nothing_more_and_every_call_lies_where_it_can_be_replayed_from(
    installation: Installation, targets: Targets
) -> None:
    targets.configured(a="", b="")
    targets.answers("b", status=410)
    process = await started(installation)
    await publish(installation.amqp_url, [emitted("call-0")])
    await process.wait_for_line("forward.stopped")

    await publish(installation.amqp_url, [emitted(f"call-{number}") for number in range(1, 10)])

    await came(lambda: len(targets.calls("a")) == 10)
    letters = await installation.take(DEAD, 10)
    assert all(str(each.headers["x-aftercall-detail"]).startswith("b answered 410, it is gone") for each in letters)
    assert len(targets.received("b")) == 1
    metrics = (await process.wait_for_url(installation.probe("consume", "metrics"))).decode()
    assert 'aftercall_forward_stopped{target="b"} 1.0' in metrics
    assert process.text().count("forward.stopped") == 1


async def test_a_process_that_is_killed_loses_no_call_and_repeats_at_most_what_it_had_in_hand(
    installation: Installation, targets: Targets, tmp_path: Path
) -> None:
    targets.configured(a="")
    targets.answers("a", delay_s=0.2)
    first = await started(installation)
    publishing = asyncio.ensure_future(
        publish(installation.amqp_url, [emitted(f"call-{number}") for number in range(200)])
    )
    await came(lambda: len(targets.received("a")) >= 80)

    await first.kill()
    await publishing
    with sqlite3.connect(tmp_path / ".aftercall" / "ledger.db") as database:  # as time would: the leases run out
        database.execute("UPDATE aftercall_inbox SET leased_until = 0")
    database.close()
    await started(installation)

    await came(lambda: len(targets.calls("a")) == 200)
    repeated = [call for call, times in targets.calls("a").items() if times > 1]
    assert len(repeated) <= 32
    ids = {(json.loads(each["body"])["callId"], each["headers"]["webhook-id"]) for each in targets.received("a")}
    assert len(ids) == 200


@pytest.mark.parametrize(
    ("toml", "environment", "told"),
    [
        ("", {}, "forward: aftercall.toml names no target"),
        ('[forward.a]\nurl = "https://example.com"\n', {"AFTERCALL_SUBSCRIBERS": "ledger"}, "has no forward"),
        ('[forward.a]\nurl = "https://10.1.2.3/hook"\n', {}, "aftercall.toml, line 2: forward.a.url: 10.1.2.3 is no"),
        ('[forward.a]\nurl = "https://example.com"\nsecret = "x"\n', {}, "line 3: forward.a.secret: this is no key"),
        ("", {"AFTERCALL_FORWARD_SECRETS": f"b={SECRET}"}, "there is no table [forward.b]"),
    ],
)
async def test_what_can_never_be_forwarded_says_why_and_exits_with_64(
    installation: Installation, tmp_path: Path, toml: str, environment: dict[str, str], told: str
) -> None:
    (tmp_path / "aftercall.toml").write_text(toml)

    process = installation.start("consume", "forward", **({"AFTERCALL_SUBSCRIBERS": "forward"} | environment))

    assert await process.wait() == 64
    assert told in process.text()
    assert SECRET not in process.text()
