"""Handlers of the user's own, as real processes on a real broker."""

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest
from yarl import URL

from tests.acceptance.conftest import Installation
from tests.processes import RunningProcess, eventually
from tests.publishing import emitted, publish
from worker.simulate.tcp_proxy import TcpProxy

DEAD = "calls.billing.dead"

BILLING = """
import asyncio, sys, threading
from contextlib import asynccontextmanager

from consumers import Delivery, EnrichedCall, Reject, Retry, facts_of

def note(*words: object) -> None:
    with open("notes", "a") as file:
        print(*words, file=file)

async def handle(call: EnrichedCall) -> None:
    note("billed", call.call_id, call.outcome.result, call.version)

def plain(call):
    note("billed", call.call_id, threading.current_thread() is not threading.main_thread())

async def curious(call: EnrichedCall, delivery: Delivery) -> None:
    note("billed", call.call_id, delivery.headers["ce-id"].startswith("default/"))

async def impatient(call):
    note("asked", call.call_id)
    raise Retry("the bank is closed", after=1)

async def choosy(call):
    if call.call_id == "bad":
        raise Reject("no contract for this customer")
    note("billed", call.call_id)

async def broken(call):
    raise ZeroDivisionError("a bug of mine")

def hanging(call):
    note("began", call.call_id)
    threading.Event().wait()

def waits(call):
    note("began", call.call_id)
    open("go").readline()
    note("billed", call.call_id)

async def waits_for_it(call):
    await asyncio.to_thread(waits, call)

async def stubborn(call):
    note("began", call.call_id)
    while True:
        try:
            await asyncio.Event().wait()
        except:
            note("ignored", call.call_id)

def leaves(call):
    sys.exit("a script of mine")

async def leaves_too(call):
    sys.exit("a script of mine")

@asynccontextmanager
async def with_resources():
    note("opened")
    async def handle(call):
        note("billed", call.call_id)
    yield handle
    note("closed")

HOARD = []
def leaking(call):
    HOARD.append(bytearray(64 * 2**20))
    note("billed", call.call_id)

NOT_CALLABLE = 3
def takes_too_much(call, delivery, more): ...
def takes_by_name(call, *, database): ...
def makes_nothing(): return 3
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "billing.py").write_text(BILLING)
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(0)")
    return tmp_path / "notes"


@pytest.fixture
def go(tmp_path: Path) -> Iterator[FileIO]:
    """A pipe that `waits` reads a line from; open at both ends, so that neither side waits for the other to open it."""
    os.mkfifo(tmp_path / "go")
    with FileIO(tmp_path / "go", "r+") as pipe:
        yield pipe


async def started(installation: Installation, handler: str, **environment: str) -> RunningProcess:
    return await installation.started("consume", f"billing:{handler}", "--queue", "billing", **environment)


async def noted(notes: Path, count: int) -> list[str]:
    def lines() -> list[str]:
        found = notes.read_text().splitlines() if notes.exists() else []
        return found if len(found) >= count else []

    return await eventually(lines)


@pytest.mark.parametrize(
    ("handler", "line"),
    [("handle", "billed one completed 1"), ("plain", "billed one True"), ("curious", "billed one True")],
)
async def test_a_handler_is_given_each_call_however_it_is_written(
    installation: Installation, notes: Path, handler: str, line: str
) -> None:
    await started(installation, handler)

    await publish(installation.amqp_url, [emitted("one")])

    assert await noted(notes, 1) == [line]


async def test_an_event_that_comes_twice_is_handled_once_and_an_older_one_not_after_a_newer(
    installation: Installation, notes: Path
) -> None:
    await started(installation, "handle", AFTERCALL_PREFETCH="1")
    old = emitted("one", complete=False, missing=["cost"])
    new = emitted("one", version=2)

    await publish(installation.amqp_url, [new])
    await noted(notes, 1)
    await publish(installation.amqp_url, [new, old, emitted("two")])

    assert await noted(notes, 2) == ["billed one completed 2", "billed two completed 1"]


async def test_a_retry_comes_again_and_what_is_rejected_lies_dead_with_its_words(
    installation: Installation, notes: Path
) -> None:
    process = await started(installation, "impatient")
    await publish(installation.amqp_url, [emitted("one")])
    assert await noted(notes, 2) == ["asked one", "asked one"]
    await process.terminate()

    await started(installation, "choosy")
    await publish(installation.amqp_url, [emitted("bad"), emitted("good")])

    (letter,) = await installation.take(DEAD)
    assert letter.headers["x-aftercall-reason"] == "rejected"
    assert letter.headers["x-aftercall-detail"] == "no contract for this customer"
    assert "billed good" in await noted(notes, 3)


@pytest.mark.parametrize("handler", ["leaves", "leaves_too"])
@pytest.mark.usefixtures("notes")
async def test_a_handler_that_would_leave_ends_neither_this_process_nor_the_next(
    installation: Installation, handler: str
) -> None:
    process = await started(installation, handler, AFTERCALL_RETRY_TIERS_S="1")

    await publish(installation.amqp_url, [emitted("one")])

    (letter,) = await installation.take(DEAD)
    assert letter.headers["x-aftercall-reason"] == "error"
    assert "SystemExit: a script of mine" in letter.headers["x-aftercall-detail"]
    assert process.exit_code is None


@pytest.mark.usefixtures("notes")
async def test_a_handler_that_raises_is_tried_again_and_then_lies_dead_with_its_traceback(
    installation: Installation,
) -> None:
    await started(installation, "broken", AFTERCALL_RETRY_TIERS_S="1")

    await publish(installation.amqp_url, [emitted("one")])

    (letter,) = await installation.take(DEAD)
    assert letter.headers["x-aftercall-reason"] == "error"
    assert "a bug of mine" in letter.headers["x-aftercall-detail"]
    assert "billing.py" in letter.headers["x-aftercall-detail"]


async def test_resources_are_opened_before_the_first_call_and_closed_after_the_last(
    installation: Installation, notes: Path
) -> None:
    process = await started(installation, "with_resources")
    await publish(installation.amqp_url, [emitted("one")])
    await noted(notes, 2)

    assert await process.terminate() == 0

    assert await noted(notes, 3) == ["opened", "billed one", "closed"]


async def test_a_plain_handler_that_hangs_holds_up_no_end_and_loses_no_call(
    installation: Installation, notes: Path
) -> None:
    process = await started(installation, "hanging", AFTERCALL_GRACE_S="1")
    await publish(installation.amqp_url, [emitted("one")])
    await noted(notes, 1)

    assert await process.terminate(within_s=30) == 0

    assert await eventually(lambda: installation.depth("calls.billing")) == 1


async def test_a_handler_that_cannot_be_cancelled_holds_up_no_end_and_loses_no_call(
    installation: Installation, notes: Path
) -> None:
    process = await started(installation, "stubborn", AFTERCALL_GRACE_S="1")
    await publish(installation.amqp_url, [emitted("one")])
    await noted(notes, 1)

    assert await process.terminate(within_s=30) == 0

    assert "ignored one" in await noted(notes, 2)
    assert await eventually(lambda: installation.depth("calls.billing")) == 1


@pytest.mark.parametrize("handler", ["waits", "waits_for_it"])
async def test_a_call_in_hand_when_the_connection_is_cut_is_handled_to_its_end_and_not_again(
    installation: Installation, notes: Path, go: FileIO, handler: str
) -> None:
    address = URL(installation.amqp_url)
    async with TcpProxy(address.host or "", address.port or 0) as proxy:
        cut_off = {"AFTERCALL_AMQP_URL": proxy.through(installation.amqp_url), "AFTERCALL_PREFETCH": "1"}
        process = await started(installation, handler, **cut_off)
        await publish(installation.amqp_url, [emitted("one")])
        await noted(notes, 1)
        proxy.cut()
        await process.wait_for_line('"outcome":"held".*acted upon')
        go.write(b"go\n")
        await process.wait_for_line('"outcome":"acked"')

        assert await noted(notes, 2) == ["began one", "billed one"]
        assert process.exit_code is None


async def test_a_process_that_has_outgrown_its_memory_ends_in_order_to_be_started_anew(
    installation: Installation, notes: Path
) -> None:
    process = await started(installation, "leaking", AFTERCALL_MEMORY_MAX_BYTES=str(400 * 2**20))
    calls = [emitted(f"call-{number}") for number in range(20)]
    await publish(installation.amqp_url, calls)

    assert await process.wait() == 75

    assert '"role.outgrown"' in process.text()
    assert len(await noted(notes, 1)) + await installation.depth("calls.billing") == len(calls)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere.at_all:handle", "--queue", "billing"), "looked for in /"),
        (("billing:nothing", "--queue", "billing"), "has no function 'nothing'"),
        (("billing:NOT_CALLABLE", "--queue", "billing"), "has no function 'NOT_CALLABLE'"),
        (("billing:takes_too_much", "--queue", "billing"), "takes the call, or the call and the delivery"),
        (("billing:takes_by_name", "--queue", "billing"), "takes the call, or the call and the delivery"),
        (("leaving:handle", "--queue", "billing"), "leaving cannot be imported: SystemExit"),
        (("billing:makes_nothing", "--queue", "billing"), "an async context manager of a handler"),
        (("billing:handle",), "name its queue"),
        (("billing:handle", "--queue", "crm"), "the name is taken"),
        (("billing:handle", "billing:plain", "--queue", "billing"), "one handler of yours to a process"),
        (("enrich", "--queue", "billing"), "name it too"),
    ],
)
@pytest.mark.usefixtures("notes")
async def test_a_handler_that_cannot_be_run_is_refused_in_words(
    installation: Installation, arguments: tuple[str, ...], told: str
) -> None:
    process = installation.start("consume", *arguments)

    assert await process.wait() == 64
    assert told in process.text()
