"""Dead letters on a real broker, discarded one at a time, and those that the spool has set aside."""

import asyncio
import fcntl
import json
import os
import pty
import subprocess
import termios
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from consumers.dead_letters import Wanted
from consumers.messages import Message
from tests.integration.letters import (
    DEAD,
    FAST,
    QUEUE,
    Broker,
    letters,
    replay_all,
)
from tests.processes import AFTERCALL
from worker.broker.dead_letters import discard
from worker.cli.dead.places import opened
from worker.cli.dead.working import Work, desk, work_through
from worker.ingress.spool.set_aside import list_set_aside
from worker.ingress.spool.writer import Spool


async def test_discarding_leaves_a_note_of_each_letter_and_nothing_else(broker_: Broker) -> None:
    await broker_.put_dead(4)
    wanted = Wanted(call_ids=frozenset(["call-1", "call-2"]))
    async with opened(broker_.settings, wanted) as place, desk(broker_.settings) as at:
        deed = partial(discard, desk=at)
        tally = await work_through(place, Work(deed=deed, total=2, rate=FAST, done="discarded"))
    assert tally.done == 2
    assert await broker_.numbers(DEAD) == [0, 3]
    assert await broker_.notes() == [("discarded", "call-1"), ("discarded", "call-2")]


async def test_discarding_without_a_terminal_wants_to_be_told_that_one_is_sure(broker_: Broker) -> None:
    await broker_.put_dead(2)
    code, _, err = await broker_.run("discard", "--queue", "crm")
    assert (code, "--yes" in err) == (64, True)
    code, out, _ = await broker_.run("discard", "--queue", "crm", "--dry-run", "--output", "json")
    assert (code, json.loads(out)) == (0, [{"queue": QUEUE, "reason": "rejected", "count": 2, "to": None}])
    assert await broker_.depth(DEAD) == 2
    assert await broker_.run("discard", "--queue", "crm", "--yes") == (0, "", "2 letters discarded.\n")
    assert await broker_.depth(DEAD) == 0


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("n", 1, 2), ("", 1, 2), ("\x03", 130, 2)])
async def test_discarding_asks_at_a_terminal(broker_: Broker, answer: str, code: int, left: int) -> None:
    await broker_.put_dead(2)
    url = broker_.settings.amqp_url.reveal()
    ended, shown = await asyncio.to_thread(_answering, url, broker_.folder, answer)
    assert (ended, await broker_.depth(DEAD)) == (code, left), shown
    assert "Discard 2 letters for good? The ledger keeps a note of each. [y/N]" in shown


def _answering(url: str, folder: Path, answer: str) -> tuple[int, str]:
    """Run `dead discard` at a terminal of its own, and type the answer when it asks."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
    process = subprocess.Popen(
        (AFTERCALL, "dead", "discard", "--queue", "crm"),
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        env=environment | {"AFTERCALL_AMQP_URL": url, "AFTERCALL_SUBSCRIBERS": "ledger,crm"},
        cwd=folder,
        start_new_session=True,
        # So that Ctrl-C typed there is a signal; it is one system call, and safe in a thread.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(theirs)
    deadline = threading.Timer(20, process.kill)
    deadline.start()
    shown = b""
    with suppress(OSError):  # the terminal ends with the process
        while b"[y/N]" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, answer.encode() + (b"" if answer == "\x03" else b"\n"))
        while chunk := os.read(ours, 1000):
            shown += chunk
    code = process.wait()
    deadline.cancel()
    os.close(ours)
    return code, shown.decode()


# What the spool has set aside


async def spooled(broker: Broker, *, reason: str = "too-large") -> None:
    """A notification that the endpoint's spool holds and the drain set aside."""
    spool = Spool(broker.folder / "spool", 2**30)
    await spool.open()
    message = Message(
        exchange="calls",
        routing_key="call.ended.default",
        body=b'{"message": 1}',
        type="call.ended",
        call_id="call-s",
        headers={"x-aftercall-account": "default", "ce-id": "default/call-s/ended"},
    )
    await spool.keep(message)
    (record,) = await spool.oldest(1)
    await spool.set_aside(record, reason, "17 MiB, and the broker takes 16")
    await spool.close()


async def test_what_the_spool_has_set_aside_is_listed_replayed_and_noted(broker_: Broker) -> None:
    await spooled(broker_)
    (found,) = await letters(broker_.settings)
    assert (found.queue, found.reason, found.call_id) == ("spool", "too-large", "call-s")
    assert found.id.startswith("spool/")
    assert (await replay_all(broker_.settings, Wanted(ids=frozenset([found.id])))).done == 1
    (message,) = await broker_.take("calls.enrich.default")
    assert (message.body, message.headers["ce-id"]) == (b'{"message": 1}', "default/call-s/ended")
    assert list_set_aside(broker_.folder / "spool") == []
    assert await broker_.notes() == [("replayed", "call-s")]


async def test_what_the_spool_has_set_aside_is_shown_and_discarded(broker_: Broker) -> None:
    await spooled(broker_)
    place = {"AFTERCALL_SPOOL_DIR": str(broker_.folder / "spool")}
    _, out, _ = await broker_.run("list", "--queue", "spool", "--output", "json", **place)
    (row,) = json.loads(out)
    assert await broker_.run("show", row["id"], "--raw", **place) == (0, '{"message": 1}', "")
    assert (await broker_.run("discard", "--id", row["id"], "--yes", **place))[0] == 0
    assert list_set_aside(broker_.folder / "spool") == []
