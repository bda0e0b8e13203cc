"""The subscribers in `examples/`, as their users run them: real programs on a real broker."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from consumers.messages import Message
from tests.acceptance.conftest import Installation
from tests.node import NODE
from tests.processes import AFTERCALL, RunningProcess, eventually
from tests.publishing import emitted, publish

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = {
    "python_kit": (AFTERCALL, "consume", "billing:billing", "--queue", "billing"),
    "python_pika": (sys.executable, "subscriber.py"),
    "node_amqplib": (str(NODE), "subscriber.mjs"),
}
TOML = """
[subscribers.billing]
bindings = ["call.enriched.*.completed.#", "call.amended.*.completed.#"]
"""
Start = Callable[[], RunningProcess]


def call(call_id: str, *, cost: float | None = 0.25, said: str = "Hello.", **changes: object) -> Message:
    times = {"startedAt": "2026-08-31T17:04:25.000Z", "endedAt": "2026-08-31T17:05:55.000Z"}
    document = {"id": call_id, "cost": cost, "artifact": {"transcript": said}, **times}
    return emitted(call_id, call=document, **changes)


@pytest.fixture
def installed(installation: Installation, tmp_path: Path) -> Installation:
    """An installation whose `aftercall.toml` has the queue."""
    (tmp_path / "aftercall.toml").write_text(TOML)
    installation.environment["AFTERCALL_CONFIG"] = str(tmp_path / "aftercall.toml")
    return installation


@pytest.fixture(params=list(PROGRAMS))
def start(
    request: pytest.FixtureRequest,
    installed: Installation,
    tmp_path: Path,
    start_process: Callable[..., RunningProcess],
) -> Start:
    for file in (EXAMPLES / request.param).iterdir():
        (tmp_path / file.name).symlink_to(file)
    environment = installed.environment | {"AFTERCALL_ADMIN_PORT": "0"}

    def started() -> RunningProcess:
        return start_process(*PROGRAMS[request.param], environment=environment)

    return started


async def lines(tmp_path: Path, count: int) -> dict[str, tuple[float, float, int]]:
    """Seconds, cost and version of each line, once there are so many."""

    def found() -> dict[str, tuple[float, float, int]]:
        try:
            with closing(sqlite3.connect(f"file:{tmp_path / 'billing.db'}?mode=ro", uri=True)) as database:
                rows = database.execute("SELECT call_id, seconds, cost, version FROM lines")
                told = {row[0]: tuple(row[1:]) for row in rows}
        except sqlite3.OperationalError:
            return {}
        return told if len(told) >= count else {}

    return await eventually(found)


async def test_a_call_is_billed_once_however_often_it_comes_and_the_greater_event_wins(
    start: Start, installed: Installation, tmp_path: Path
) -> None:
    await declared(installed)
    start()
    old, new = call("amended", cost=0.1, complete=False, missing=["recording"]), call("amended", cost=0.5, version=2)
    large = call("large", said="".join(chr(48 + (number * number) % 75) for number in range(2_000_000)))
    assert large.content_encoding == "gzip"

    await publish(installed.amqp_url, [new, call("one"), call("one"), large])
    await lines(tmp_path, 3)
    await publish(installed.amqp_url, [old, call("one"), call("last")])

    told = await lines(tmp_path, 4)
    assert told == {"amended": (90, 0.5, 2), "one": (90, 0.25, 1), "large": (90, 0.25, 1), "last": (90, 0.25, 1)}


async def test_what_cannot_be_read_lies_with_the_dead_letters_and_the_next_is_billed(
    start: Start, installed: Installation, tmp_path: Path
) -> None:
    await declared(installed)
    start()

    await publish(installed.amqp_url, [rubbish(), call("one")])

    (letter,) = await installed.take("calls.billing.dead")
    assert letter.body == b"{}"
    assert set(await lines(tmp_path, 1)) == {"one"}


async def test_a_program_that_starts_first_waits_for_its_queue_and_a_killed_one_goes_on(
    start: Start, installed: Installation, tmp_path: Path
) -> None:
    process = start()
    await process.wait_for_line("connecting again|role.started")
    await declared(installed)
    await publish(installed.amqp_url, [call("one")])
    await lines(tmp_path, 1)

    await process.kill()
    await publish(installed.amqp_url, [call("two")])
    start()

    assert set(await lines(tmp_path, 2)) == {"one", "two"}


async def test_a_queue_of_ones_own_gets_what_it_is_bound_to_and_nothing_else(installed: Installation) -> None:
    await declared(installed)
    failed = {"result": "failed", "reason": "pipeline-error", "endedReason": "pipeline-error-x"}
    await publish(installed.amqp_url, [call("one"), call("failed", outcome=failed)])

    (taken,) = await installed.take("calls.billing")
    assert taken.correlation_id == "one"
    assert await installed.depth("calls.billing") == 0


def test_the_example_with_our_kit_is_tested_without_a_broker() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "-c", "/dev/null"]
    done = subprocess.run(command, cwd=EXAMPLES / "python_kit", capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


async def declared(installed: Installation) -> None:
    process = installed.start("topology", "apply")
    assert await process.wait() == 0, process.text()


def rubbish() -> Message:
    made = call("rubbish")
    return Message(
        exchange=made.exchange, routing_key=made.routing_key, body=b"{}", type=made.type, headers=made.headers
    )
