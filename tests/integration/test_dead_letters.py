"""Dead letters on a real broker: looked at without being moved, replayed and discarded one at a time."""

import asyncio
import fcntl
import gzip
import json
import os
import pty
import signal
import subprocess
import termios
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from yarl import URL

from consumers.dead_letters import Letter, Wanted
from consumers.messages import Message
from consumers.replays import destination_of
from consumers.settling import story_of
from tests.processes import AFTERCALL, RunningProcess, eventually
from worker.broker import declare
from worker.broker.dead_letters import discard, reached
from worker.broker.topology import topology_of
from worker.broker.walk import WINDOW, DeadQueue, depth_of
from worker.broker.watch import BrokerAway
from worker.cli.dead.places import Place, opened
from worker.cli.dead.plans import Plan, plan
from worker.cli.dead.working import Tally, Work, desk, replaying, work_through
from worker.cli.exit_codes import Unreachable
from worker.ingress.spool.set_aside import list_set_aside
from worker.ingress.spool.writer import Spool
from worker.settings import Secret, Settings, load
from worker.simulate.tcp_proxy import TcpProxy

QUEUE = "calls.crm"
DEAD = f"{QUEUE}.dead"
DIED_AT = 1_790_000_000.0
FAST = 5000.0


def settings_of(url: str, **keys: str) -> Settings:
    return load(
        {f"AFTERCALL_{key}": value for key, value in ({"AMQP_URL": url, "SUBSCRIBERS": "ledger,crm"} | keys).items()}
    )


class Broker:
    """A broker with the topology of `settings`, and plain AMQP to prepare and to look at it."""

    def __init__(self, connection: AbstractConnection, settings: Settings, folder: Path) -> None:
        self.connection = connection
        self.settings = settings
        self.folder = folder

    async def put(self, exchange: str, key: str, *messages: aio_pika.Message) -> None:
        async with self.connection.channel() as channel:
            to = await channel.get_exchange(exchange, ensure=False)
            for begin in range(0, len(messages), 500):
                await asyncio.gather(*(to.publish(message, key) for message in messages[begin : begin + 500]))

    async def put_dead(self, count: int, queue: str = QUEUE, **changes: Any) -> None:
        await self.put("calls.dead", queue, *(letter(number, queue, **changes) for number in range(count)))

    async def depth(self, queue: str) -> int:
        depth = await depth_of(self.connection, queue)
        assert depth is not None
        return depth

    async def take(self, queue: str) -> list[AbstractIncomingMessage]:
        """Everything that lies ready in a queue, in its order, taken out."""
        taken: list[AbstractIncomingMessage] = []
        async with self.connection.channel() as channel:
            waiting = await channel.get_queue(queue, ensure=False)
            while message := await waiting.get(fail=False, no_ack=True):
                taken.append(message)
        return taken

    async def numbers(self, queue: str) -> list[int]:
        return [int(message.body) for message in await self.take(queue)]

    async def notes(self) -> list[tuple[str, str]]:
        """What the ledger was told, and of which call."""
        noted = await self.take("calls.ledger")
        return [(str(message.routing_key).rpartition(".")[2], str(message.correlation_id)) for message in noted]

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """The command with its exit code, standard output and standard error."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
        ours = {"AFTERCALL_AMQP_URL": self.settings.amqp_url.reveal(), "AFTERCALL_SUBSCRIBERS": "ledger,crm"}
        process = await asyncio.create_subprocess_exec(
            *(AFTERCALL, "dead", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=inherited | ours | environment,
            cwd=self.folder,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


def letter(number: int, queue: str = QUEUE, **changes: Any) -> aio_pika.Message:
    """A dead letter with a number for a body, of the call `call-<number>`."""
    story = story_of(queue, changes.pop("reason", "rejected"), f"no {number}", "Reject", DIED_AT + number)
    ours = {"x-aftercall-account": "default", "x-aftercall-attempt": 3, "ce-id": f"default/call-{number}/ended"}
    given: dict[str, Any] = {
        "body": b"%d" % number,
        "headers": ours | story | changes.pop("headers", {}),
        "message_id": f"m-{number}",
        "correlation_id": f"call-{number}",
        "type": "call.enriched",
    }
    return aio_pika.Message(**given | changes)


@asynccontextmanager
async def broker_at(url: str, folder: Path, **keys: str) -> AsyncIterator[Broker]:
    settings = settings_of(url, SPOOL_DIR=str(folder / "spool"), **keys)
    async with await aio_pika.connect(url) as connection:
        await declare.apply(connection, topology_of(settings))
        yield Broker(connection, settings, folder)


@pytest.fixture
async def broker_(amqp_url: str, tmp_path: Path) -> AsyncIterator[Broker]:
    async with broker_at(amqp_url, tmp_path) as broker:
        yield broker


async def look(place: Place) -> list[Letter]:
    async with place.letters() as found:
        return [each.letter async for each in found]


async def letters(settings: Settings, wanted: Wanted | None = None) -> list[Letter]:
    async with opened(settings, wanted or Wanted()) as place:
        return await look(place)


async def planned_for(place: Place, to: str = "", limit: int | None = None) -> Plan:
    return await plan(place, partial(destination_of, to=to), limit)


async def replay_all(
    settings: Settings, wanted: Wanted | None = None, *, to: str = "", limit: int | None = None
) -> Tally:
    async with opened(settings, wanted or Wanted()) as place, desk(settings) as at:
        made = await planned_for(place, to, limit)
        assert not made.obstacles
        return await work_through(
            place, Work(deed=replaying(at, made, to), total=made.total, rate=FAST, done="replayed")
        )


# Looking


async def test_looking_leaves_every_letter_in_place_in_order_and_with_its_headers(broker_: Broker) -> None:
    count = 3 * WINDOW + 7
    await broker_.put_dead(count)
    first = await letters(broker_.settings)
    assert await letters(broker_.settings) == first, "ids and all"
    assert [each.call_id for each in first] == [f"call-{number}" for number in range(count)]
    assert await broker_.depth(DEAD) == count
    lying = await broker_.take(DEAD)
    assert [int(message.body) for message in lying] == list(range(count))
    headers = {key: value for key, value in lying[-1].headers.items() if key != "x-delivery-count"}
    assert headers == letter(count - 1).headers
    assert lying[-1].message_id == f"m-{count - 1}"


async def test_looking_at_a_part_gives_back_the_rest_in_order_too(broker_: Broker) -> None:
    await broker_.put_dead(2 * WINDOW)
    async with opened(broker_.settings, Wanted()) as place, place.letters() as found:
        async for each in found:
            if each.letter.call_id == f"call-{WINDOW + 10}":
                break
    assert await broker_.numbers(DEAD) == list(range(2 * WINDOW))


async def test_letters_that_were_looked_at_before_keep_their_order_when_a_later_command_ends_early(
    broker_: Broker,
) -> None:
    """RabbitMQ hands out first what it got back, and would put this behind it."""
    count = 2 * WINDOW + 20
    await broker_.put_dead(count)
    await letters(broker_.settings)
    await broker_.put("calls.dead", QUEUE, *(letter(count + number) for number in range(WINDOW)))
    async with opened(broker_.settings, Wanted(ids=frozenset())) as place, place.letters() as found:
        async for _ in found:
            break
    assert await broker_.numbers(DEAD) == list(range(count + WINDOW))


async def test_a_look_ends_though_letters_keep_coming(broker_: Broker) -> None:
    await broker_.put_dead(5)
    async with DeadQueue(broker_.connection, DEAD).walk(5) as found:
        seen = []
        async for each in found:
            seen.append(each.letter.call_id)
            await broker_.put("calls.dead", QUEUE, letter(100 + len(seen)))
    assert len(seen) == 5
    assert await broker_.depth(DEAD) == 10


async def test_letters_in_other_hands_are_not_waited_for(broker_: Broker) -> None:
    await broker_.put_dead(10)
    async with broker_.connection.channel() as channel:
        waiting = await channel.get_queue(DEAD, ensure=False)
        async with DeadQueue(broker_.connection, DEAD).walk(10) as found:
            held = await waiting.get()
            seen = [each.letter.call_id async for each in found]
        await held.nack(requeue=True)
    assert held.correlation_id == "call-0"
    assert seen == [f"call-{number}" for number in range(1, 10)]


async def test_what_does_not_exist_is_told_of_and_skipped(broker_: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    async with broker_.connection.channel() as channel:
        await channel.queue_delete("calls.webhook.dead")
    await broker_.put_dead(1)
    assert len(await letters(broker_.settings)) == 1
    assert "Not there: calls.webhook.dead." in capsys.readouterr().err


async def test_a_letter_of_the_broker_itself(broker_: Broker) -> None:
    """The delivery limit, reached by consumers that die, and a subscriber of somebody else that rejects."""
    headers = {"x-aftercall-account": "default", "x-aftercall-attempt": 2}
    await broker_.put("calls.requeue", QUEUE, aio_pika.Message(b"killer", headers=headers, correlation_id="call-k"))
    async with broker_.connection.channel() as channel:
        waiting = await channel.get_queue(QUEUE, ensure=False)
        while message := await waiting.get(fail=False):
            await message.nack(requeue=True)
    await broker_.put("calls.requeue", QUEUE, aio_pika.Message(b"refused", correlation_id="call-r"))
    async with broker_.connection.channel() as channel:
        await (await (await channel.get_queue(QUEUE, ensure=False)).get()).reject(requeue=False)
    await eventually(lambda: _has(broker_, DEAD, 2))

    told = {each.call_id: each for each in await letters(broker_.settings)}

    assert {call: (each.queue, each.reason) for call, each in told.items()} == {
        "call-k": (QUEUE, "delivery-limit"),
        "call-r": (QUEUE, "rejected"),
    }
    assert told["call-k"].attempts == 2
    assert told["call-k"].died_at is not None
    assert (await replay_all(broker_.settings)).done == 2
    killer, _ = sorted(await broker_.take(QUEUE), key=lambda message: message.body)
    assert not any(key.startswith(("x-death", "x-first-death")) for key in killer.headers)
    assert killer.headers["x-aftercall-previous-reason"] == "delivery-limit"


async def _has(broker: Broker, queue: str, count: int) -> bool:
    return await broker.depth(queue) == count


# Replaying


async def test_a_replay_takes_letters_back_to_their_queue_in_order_and_notes_each(broker_: Broker) -> None:
    await broker_.put_dead(30)
    assert (await replay_all(broker_.settings)).done == 30
    came = await broker_.take(QUEUE)
    assert [int(message.body) for message in came] == list(range(30))
    assert {message.headers["x-aftercall-attempt"] for message in came} == {1}
    assert came[7].headers["ce-id"] == "default/call-7/ended"
    assert came[7].headers["x-aftercall-previous-detail"] == "no 7"
    assert await broker_.depth(DEAD) == 0
    assert await broker_.notes() == [("replayed", f"call-{number}") for number in range(30)]


async def test_a_limited_replay_of_2000_letters_takes_the_oldest_and_leaves_the_rest_in_order(broker_: Broker) -> None:
    await broker_.put_dead(2000)
    assert (await replay_all(broker_.settings, limit=300)).done == 300
    assert await broker_.numbers(QUEUE) == list(range(300))
    assert await broker_.numbers(DEAD) == list(range(300, 2000))


async def test_a_filtered_replay_picks_its_letters_out_of_all_windows(broker_: Broker) -> None:
    count = 2 * WINDOW + 50
    await broker_.put_dead(count)
    chosen = [3, WINDOW - 1, WINDOW, 2 * WINDOW + 49]
    wanted = Wanted(call_ids=frozenset(f"call-{number}" for number in chosen))
    assert (await replay_all(broker_.settings, wanted)).done == 4
    assert await broker_.numbers(QUEUE) == chosen
    assert await broker_.numbers(DEAD) == [number for number in range(count) if number not in chosen]


async def test_a_zipped_body_is_replayed_as_it_lies(broker_: Broker) -> None:
    zipped = gzip.compress(b'{"a": "%s"}' % (b"x" * 2_000_000))
    await broker_.put("calls.dead", QUEUE, letter(1, body=zipped, content_encoding="gzip"))
    await replay_all(broker_.settings)
    (message,) = await broker_.take(QUEUE)
    assert (message.body, message.content_encoding) == (zipped, "gzip")


async def test_several_operators_at_once_replay_each_letter_once(broker_: Broker) -> None:
    await broker_.put_dead(300)
    async with AsyncExitStack() as stack:
        jobs = []
        for _ in range(3):
            place = await stack.enter_async_context(opened(broker_.settings, Wanted()))
            at = await stack.enter_async_context(desk(broker_.settings))
            made = await planned_for(place)
            work = Work(deed=replaying(at, made, ""), total=made.total, rate=FAST, done="replayed")
            jobs.append(partial(work_through, place, work))
        tallies = await asyncio.gather(*(job() for job in jobs))
    assert sum(tally.done for tally in tallies) + await broker_.depth(DEAD) == 300
    again = await replay_all(broker_.settings)  # whatever one had in hand when another looked
    assert sum(tally.done for tally in tallies) + again.done == 300
    assert sorted(await broker_.numbers(QUEUE)) == list(range(300))


async def test_a_replay_from_calls_unrouted_goes_where_it_was_to_go_once_something_is_there(
    amqp_url: str, tmp_path: Path
) -> None:
    async with broker_at(amqp_url, tmp_path) as broker:
        await broker.put("calls", "call.ended.acme", aio_pika.Message(b"{}", headers={"x-aftercall-account": "acme"}))
        (letter_,) = await letters(broker.settings)
        assert (letter_.queue, letter_.reason, letter_.routing_key) == ("calls.unrouted", "unrouted", "call.ended.acme")
        code, _, err = await broker.run("replay", "--all")
        assert (code, "Nothing would take letters for calls / call.ended.acme" in err) == (1, True)
        assert await broker.depth("calls.unrouted") == 1
    account = {"ACCOUNTS__ACME__VAPI_API_KEY": "k", "ACCOUNTS__ACME__WEBHOOK_SECRETS": "s"}
    async with broker_at(amqp_url, tmp_path, **account) as broker:
        assert (await replay_all(broker.settings)).done == 1
        (message,) = await broker.take("calls.enrich.acme")
        assert (message.exchange, message.routing_key) == ("calls", "call.ended.acme")
        assert await broker.depth("calls.unrouted") == 0


async def test_a_queue_that_is_gone_is_told_of_before_anything_moves(broker_: Broker) -> None:
    await broker_.put_dead(2)
    await broker_.put_dead(2, "calls.ledger")
    async with broker_.connection.channel() as channel:
        await channel.queue_delete(QUEUE)
    code, _, err = await broker_.run("replay", "--all", "--rate", "1000")
    assert code == 1
    assert f"Nothing would take letters for {QUEUE}: {QUEUE} does not exist. `aftercall topology apply`" in err
    assert (await broker_.depth(DEAD), await broker_.depth("calls.ledger.dead")) == (2, 2)
    assert (await replay_all(broker_.settings, to="calls.ledger")).done == 4


async def test_parked_letters_of_the_endpoint_go_where_one_says_and_nowhere_else(broker_: Broker) -> None:
    await broker_.put_dead(1, "calls.webhook", reason="undecodable")
    code, _, err = await broker_.run("replay", "--queue", "webhook")
    assert (code, "`--queue calls.webhook --to calls.enrich.default`" in err) == (1, True)
    code, _, err = await broker_.run("replay", "--queue", "webhook", "--to", "calls.enrich.default")
    assert (code, err) == (0, "1 letter replayed.\n")
    assert await broker_.numbers("calls.enrich.default") == [0]


async def test_a_letter_that_amqp_cannot_carry_again_is_left_and_does_not_stop_the_others(broker_: Broker) -> None:
    await broker_.put_dead(3)
    async with opened(broker_.settings, Wanted()) as place, desk(broker_.settings) as at:
        made = await planned_for(place)

        async def publish(message: Message) -> None:
            if message.body == b"1":
                raise ValueError("not for AMQP")
            await at.publish(message)

        picky = type(at)(publish, notes=False)
        work = Work(deed=replaying(picky, made, ""), total=3, rate=FAST, done="replayed")
        tally = await work_through(place, work)
    assert (tally.done, tally.left) == (2, {"not for AMQP": 1})
    assert (await broker_.numbers(QUEUE), await broker_.numbers(DEAD)) == ([0, 2], [1])


# Interrupted


async def replaying_process(broker: Broker, start: Callable[..., RunningProcess], count: int) -> RunningProcess:
    """A real process in the middle of replaying `count` letters."""
    await broker.put_dead(count)
    environment = {"AFTERCALL_AMQP_URL": broker.settings.amqp_url.reveal(), "AFTERCALL_SUBSCRIBERS": "ledger,crm"}
    process = start(AFTERCALL, "dead", "replay", "--all", "--rate", "400", environment=environment)
    await eventually(lambda: _is_at_least(broker, QUEUE, 40))
    return process


async def _is_at_least(broker: Broker, queue: str, count: int) -> bool:
    return await broker.depth(queue) >= count


async def test_a_replay_killed_on_its_way_loses_nothing_and_doubles_the_letter_in_hand_at_most(
    broker_: Broker, start_process: Callable[..., RunningProcess]
) -> None:
    process = await replaying_process(broker_, start_process, 600)
    await process.kill()
    # What it held comes back when the broker notices; what it had published is counted twice at most.
    await eventually(lambda: _sum_is(broker_, 600))
    replayed, left = await broker_.numbers(QUEUE), await broker_.numbers(DEAD)
    assert set(replayed) | set(left) == set(range(600))
    assert 40 <= len(replayed) < 600
    assert len(replayed) + len(left) <= 601


async def _sum_is(broker: Broker, count: int) -> bool:
    return await broker.depth(QUEUE) + await broker.depth(DEAD) >= count


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_stops_after_the_letter_in_hand(
    broker_: Broker, start_process: Callable[..., RunningProcess], number: signal.Signals
) -> None:
    process = await replaying_process(broker_, start_process, 400)
    process.signal(number)
    assert await process.wait() == 130
    assert "Stopped; the others lie where they lay." in process.text()
    replayed, left = await broker_.numbers(QUEUE), await broker_.numbers(DEAD)
    assert replayed + left == list(range(400)), "none lost, none doubled, and all in order"
    assert f"{len(replayed)} letters replayed." in process.text()


async def test_a_broker_that_goes_away_ends_a_replay_with_a_sentence_and_no_loss(broker_: Broker) -> None:
    url = URL(broker_.settings.amqp_url.reveal())
    await broker_.put_dead(100)
    async with TcpProxy(str(url.host), int(url.port or 5672)) as proxy:
        settings = settings_of(proxy.through(str(url)))
        async with opened(settings, Wanted()) as place, desk(broker_.settings) as at:
            made = await planned_for(place)
            deed = replaying(at, made, "")

            async def cutting(found: Any) -> None:
                await deed(found)
                if found.letter.call_id == "call-20":
                    await proxy.refuse()
                    proxy.cut()

            with pytest.raises(Unreachable, match="letters replayed; the one in hand may be in both places"):
                await work_through(place, Work(deed=cutting, total=100, rate=FAST, done="replayed"))
    await eventually(lambda: _sum_is(broker_, 100))
    assert set(await broker_.numbers(QUEUE)) | set(await broker_.numbers(DEAD)) == set(range(100))


async def test_a_broker_that_cannot_be_reached() -> None:
    with pytest.raises(BrokerAway, match="nothing listens"):
        async with reached(Secret("amqp://127.0.0.1:1/,amqp://127.0.0.1:2/")):
            pass


# Discarding


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
