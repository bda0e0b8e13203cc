"""Many acknowledgements in a frame, and not one too many."""

import asyncio
import struct
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wires import CONSUMING, Socket, delivered, wire_to
from worker.broker.wire import Inbound, Taken, frames
from worker.broker.wire.acks import Acks
from worker.broker.wire.connection import Writer


class Broker:
    """What a broker has handed out and nobody settled; it closes a channel that settles what it does not have there."""

    def __init__(self) -> None:
        self.last = 0
        self.unsettled: set[int] = set()

    def hands_out(self) -> int:
        self.last += 1
        self.unsettled.add(self.last)
        return self.last

    def reads(self, sent: list[bytes]) -> None:
        for frame in sent:
            tag, multiple = struct.unpack_from(">QB", frame, 11)
            assert tag in self.unsettled, "PRECONDITION_FAILED - unknown delivery tag"
            self.unsettled -= {each for each in self.unsettled if each <= tag} if multiple else {tag}


@given(st.lists(st.tuples(st.sampled_from(("deliver", "get", "ack", "reject", "flush")), st.integers(0, 40))))
def test_what_is_acknowledged_is_settled_and_nothing_else(steps: list[tuple[str, int]]) -> None:
    acks, broker, ours = Acks(), Broker(), list[int]()
    for step, which in steps:
        if step in ("deliver", "get"):
            ours.append(broker.hands_out())
            if step == "deliver":
                acks.came(ours[-1])
        elif step == "flush":
            broker.reads(acks.frames(CONSUMING))
        elif ours:
            tag = ours.pop(which % len(ours))
            if step == "ack":
                acks.add(tag)
            else:
                broker.unsettled.remove(tag)
                acks.settled(tag)

    broker.reads(acks.frames(CONSUMING))
    assert broker.unsettled == set(ours)
    assert acks.frames(CONSUMING) == []


async def test_what_is_acknowledged_in_one_turn_of_the_loop_goes_at_once_in_few_frames() -> None:
    socket = Socket()
    wire, taken = wire_to(socket), list[Taken]()
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, taken.append)
    wire.feed(b"".join(frame for tag in range(1, 8) for frame in delivered(tag, b"x")))

    for each in (taken[2], taken[0], taken[1], taken[4], taken[6]):
        await each.ack()
    assert socket.sent == []
    await asyncio.sleep(0)

    assert [(ack.delivery_tag, ack.multiple) for ack in socket.frames()] == [(3, True), (5, False), (7, False)]


async def test_what_is_acknowledged_goes_before_what_aiormq_writes_next() -> None:
    socket = Socket()
    wire, taken = wire_to(socket), list[Taken]()
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, taken.append)
    wire.feed(b"".join(delivered(1, b"x")))
    writer = Writer(cast("Any", socket), cast("Any", None), None, asyncio.get_running_loop())
    writer.wire = wire

    await taken[0].ack()
    writer.write(b"the channel is closed")

    assert socket.sent == [frames.ack(CONSUMING, 1), b"the channel is closed"]
    socket.is_closed = True


async def test_a_connection_that_closes_in_that_turn_loses_no_more_than_the_acknowledgement(
    caplog: pytest.LogCaptureFixture,
) -> None:
    socket = Socket()
    wire, taken = wire_to(socket), list[Taken]()
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, taken.append)
    wire.feed(b"".join(delivered(1, b"x")))

    await taken[0].ack()
    socket.is_closed = True
    await asyncio.sleep(0)

    assert socket.sent == []
    assert not caplog.records
