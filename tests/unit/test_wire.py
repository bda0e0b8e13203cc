"""What is taken from a connection's bytes, and what stays aiormq's."""

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic, Channel, Queue
from pamqp.heartbeat import Heartbeat

from tests.unit.wires import CONSUMING, OTHER, Socket, content, delivered, wire_to
from worker.broker.wire import Inbound, Taken
from worker.broker.wire.frames import HEARTBEAT

MIXED = [
    (delivered(1, b"a" * 2500, correlation_id="one", headers={"x": 1}), True),
    ([pamqp.frame.marshal(Heartbeat(), 0)], False),
    (delivered(2, b"", message_type="call.ended"), True),
    ([pamqp.frame.marshal(Queue.DeclareOk(queue="q", message_count=1, consumer_count=1), CONSUMING)], False),
    (content(CONSUMING, Basic.GetOk(delivery_tag=3, exchange="", routing_key="q", message_count=0), b"got"), False),
    (delivered(4, b"b", channel=OTHER), False),
    (delivered(5, b"c" * 1000), True),
    ([pamqp.frame.marshal(Channel.CloseOk(), CONSUMING)], False),
]
STREAM = b"".join(frame for frames, _ in MIXED for frame in frames)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_deliveries_are_taken_and_all_else_is_left_however_the_bytes_come(cuts: list[int]) -> None:
    wire, taken = wire_to(Socket()), list[Taken]()
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, taken.append)

    ends = [*sorted(cuts), len(STREAM)]
    left = b"".join(wire.feed(STREAM[at:end]) for at, end in zip([0, *ends], ends, strict=False) if at < end)

    assert [(each.delivery_tag, len(each.body)) for each in taken] == [(1, 2500), (2, 0), (5, 1000)]
    assert left.replace(HEARTBEAT, b"") == b"".join(
        frame for frames, is_taken in MIXED if not is_taken for frame in frames if frame != HEARTBEAT
    )


def test_a_delivery_has_what_its_publisher_gave_it() -> None:
    wire, taken = wire_to(Socket()), list[Taken]()
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, taken.append)
    headers = {"x-aftercall-attempt": 3}
    ids = {"message_type": "call.ended", "correlation_id": "c", "message_id": "m"}

    for frame in delivered(9, b"{}", content_type="application/json", content_encoding="gzip", headers=headers, **ids):
        wire.feed(frame)

    (it,) = taken
    assert (it.exchange, it.routing_key, it.body) == ("calls", "call.ended.default", b"{}")
    assert (it.headers, it.type, it.correlation_id) == ({"x-aftercall-attempt": 3}, "call.ended", "c")
    assert (it.message_id, it.content_type, it.content_encoding) == ("m", "application/json", "gzip")


def test_aiormq_is_told_now_and_then_that_a_broker_is_alive_of_which_it_sees_nothing() -> None:
    instants = iter((10.0, 10.0, 10.4, 11.1, 11.1, 11.2))
    wire = wire_to(Socket(), lambda: next(instants))
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, lambda _taken: None)

    told = [wire.feed(b"".join(delivered(1, b"x"))) for _ in range(4)]

    assert told == [HEARTBEAT, b"", HEARTBEAT, b""]


def test_what_is_no_amqp_is_left_whole() -> None:
    wire = wire_to(Socket())
    assert wire.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n") == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert wire.feed(b"more of it") == b"more of it"


async def test_acknowledging_and_rejecting_name_the_delivery() -> None:
    socket = Socket()
    wire, taken = wire_to(socket), list[Taken]()
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, taken.append)
    wire.feed(b"".join(delivered(7, b"x") + delivered(8, b"y")))

    await taken[0].ack()
    await taken[1].reject(requeue=False)

    ack, reject = socket.frames()
    assert (ack.name, ack.delivery_tag, ack.multiple) == ("Basic.Ack", 7, False)
    assert (reject.name, reject.delivery_tag, reject.requeue) == ("Basic.Reject", 8, False)


async def test_a_closed_connection_takes_no_acknowledgement() -> None:
    socket = Socket()
    wire, taken = wire_to(socket), list[Taken]()
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, taken.append)
    wire.feed(b"".join(delivered(7, b"x")))
    socket.is_closed = True

    with pytest.raises(ConnectionResetError):
        await taken[0].ack()
