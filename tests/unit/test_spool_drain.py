"""The drain with a spool on disk and a publish of the tests': order, bounds, and what is never published twice."""

import asyncio

import pytest
from structlog.testing import capture_logs

from consumers.messages import Message
from consumers.outcomes import TooLarge
from tests.processes import eventually
from worker.broker.publisher import PublishFailed
from worker.ingress.spool.drain import IN_FLIGHT, Drain
from worker.ingress.spool.keeper import Gate
from worker.ingress.spool.writer import Spool, SpoolFailed


def message(body: bytes, account: str = "default") -> Message:
    return Message(exchange="calls", routing_key=f"call.ended.{account}", body=body, type="call.ended", call_id="c")


class Broker:
    """Takes messages, or does as told."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.tried: list[bytes] = []
        self.refuses: dict[bytes, Exception] = {}
        self.holds = asyncio.Event()
        self.holds.set()
        self.is_connected = True
        self.is_blocked = False
        self.at_once = self.at_once_max = 0

    async def publish(self, message: Message) -> None:
        self.tried.append(message.body)
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        await self.holds.wait()
        self.at_once -= 1
        if (error := self.refuses.get(message.body)) is not None:
            raise error
        self.taken.append(message.body)

    async def unblocked(self) -> None:
        if self.is_blocked:
            await asyncio.Event().wait()


@pytest.fixture
async def broker() -> Broker:
    return Broker()


@pytest.fixture
def drain(spool: Spool, broker: Broker) -> Drain:
    return Drain(spool, broker.publish, Gate(lambda: broker.is_connected), broker.unblocked)


async def fill(spool: Spool, count: int) -> list[bytes]:
    bodies = [b"%03d" % number for number in range(count)]
    for body in bodies:
        await spool.keep(message(body))
    return bodies


async def test_it_publishes_oldest_first_and_leaves_nothing(spool: Spool, broker: Broker, drain: Drain) -> None:
    bodies = await fill(spool, 100)

    while await drain.step():
        pass

    assert broker.taken == bodies
    assert spool.totals.waiting == 0


async def test_what_the_broker_refuses_stays_and_what_it_takes_goes(spool: Spool, broker: Broker, drain: Drain) -> None:
    await fill(spool, 5)
    broker.refuses = {b"001": PublishFailed("nacked"), b"003": PublishFailed("returned")}

    assert await drain.step()

    assert [record.message.body for record in await spool.oldest(9)] == [b"001", b"003"]
    broker.refuses = {}
    await drain.step()
    assert sorted(broker.taken) == [b"000", b"001", b"002", b"003", b"004"]


@pytest.mark.parametrize(("error", "reason"), [(TooLarge("17 > 16"), "too-large"), (ValueError("no header"), "error")])
async def test_what_the_broker_can_never_take_is_set_aside_and_the_drain_goes_on(
    spool: Spool, broker: Broker, drain: Drain, error: Exception, reason: str
) -> None:
    await fill(spool, 3)
    broker.refuses = {b"000": error}

    with capture_logs() as logs:
        while await drain.step():
            pass

    assert broker.taken == [b"001", b"002"]
    assert (spool.totals.waiting, spool.totals.aside) == (0, 1)
    assert [line["reason"] for line in logs if line["event"] == "spool.set_aside"] == [reason]


async def test_an_error_nobody_foresaw_leaves_the_record_where_it_is(
    spool: Spool, broker: Broker, drain: Drain
) -> None:
    await fill(spool, 2)
    broker.refuses = {b"000": KeyError("a bug")}

    assert await drain.step()

    assert [record.message.body for record in await spool.oldest(9)] == [b"000"]


async def test_nothing_is_tried_without_a_connection_or_while_an_alarm_blocks_it(
    spool: Spool, broker: Broker, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(spool, 3)
    monkeypatch.setattr("worker.ingress.spool.drain.UNBLOCKED_S", 0.05)
    broker.is_connected = False
    assert not await drain.step()
    broker.is_connected, broker.is_blocked = True, True
    assert not await drain.step()

    assert broker.tried == []


async def test_a_frozen_broker_is_tried_with_one_record_at_a_time(spool: Spool, broker: Broker, drain: Drain) -> None:
    await fill(spool, 50)
    frozen = PublishFailed("no answer")
    frozen.__cause__ = TimeoutError()
    broker.refuses = dict.fromkeys(await fill(spool, 50), frozen)
    await drain.step()
    tried = len(broker.tried)
    running = asyncio.ensure_future(drain.run())

    await eventually(lambda: len(broker.tried) >= tried + 2)

    assert broker.at_once_max <= IN_FLIGHT
    assert set(broker.tried[tried:]) == {b"000"}
    broker.refuses = {}
    await eventually(lambda: not spool.totals.waiting)
    drain.stop()
    await running


async def test_one_destination_in_trouble_holds_up_no_other(spool: Spool, broker: Broker, drain: Drain) -> None:
    for number in range(100):
        await spool.keep(message(b"bad", "bad"))
        await spool.keep(message(b"good %d" % number, "good"))
    broker.refuses = {b"bad": PublishFailed("nacked")}
    running = asyncio.ensure_future(drain.run())

    await eventually(lambda: len(broker.taken) == 100)

    assert spool.totals.waiting == 100
    broker.refuses = {}
    await eventually(lambda: not spool.totals.waiting)
    drain.stop()
    await running


async def test_what_is_confirmed_and_cannot_be_deleted_is_not_published_again(
    spool: Spool, broker: Broker, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = await fill(spool, 3)

    async def refuse(_records: object) -> None:
        raise SpoolFailed("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(spool, "forget", refuse)
        for _ in range(3):
            with pytest.raises(SpoolFailed):
                await drain.step()

    assert broker.taken == bodies
    await drain.step()
    assert (broker.taken, spool.totals.waiting) == (bodies, 0)


async def test_told_to_stop_it_settles_the_few_in_flight_and_publishes_no_more(
    spool: Spool, broker: Broker, drain: Drain
) -> None:
    bodies = await fill(spool, IN_FLIGHT + 10)
    broker.holds.clear()
    running = asyncio.ensure_future(drain.run())
    await eventually(lambda: broker.at_once == IN_FLIGHT)

    drain.stop()
    broker.holds.set()
    await running

    assert broker.taken == bodies[:IN_FLIGHT]
    assert spool.totals.waiting == 10


async def test_told_to_stop_while_the_broker_is_blocked_it_ends_at_once(
    spool: Spool, broker: Broker, drain: Drain
) -> None:
    await fill(spool, 1)
    broker.is_blocked = True
    running = asyncio.ensure_future(drain.run())
    await asyncio.wait([running], timeout=0.05)

    drain.stop()

    async with asyncio.timeout(1):
        await running


async def test_what_is_kept_while_it_drains_goes_out_too(spool: Spool, broker: Broker, drain: Drain) -> None:
    running = asyncio.ensure_future(drain.run())
    bodies = await fill(spool, 200)

    await eventually(lambda: len(broker.taken) == 200)

    assert sorted(broker.taken) == bodies
    drain.stop()
    await running
