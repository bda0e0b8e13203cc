"""What is taken from a connection's bytes, what stays aiormq's, and what the broker's answers mean to a publish."""

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Queue
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from consumers.messages import Message
from consumers.outcomes import TooLarge
from worker.broker.wire import Inbound, Nacked, Outbound, Returned, Taken, WiredConnection
from worker.broker.wire.connection import Wire
from worker.broker.wire.frames import HEARTBEAT, publish

CONSUMING, PUBLISHING, OTHER = 1, 2, 3
FRAME_MAX = 4096


class Socket:
    """A wire's way out, kept."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False
        self.has_room = asyncio.Event()
        self.has_room.set()

    @property
    def transport(self) -> "Socket":
        return self

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 2**16, "or each message of 20 KB is a write of its own"

    def is_closing(self) -> bool:
        return self.is_closed

    def writelines(self, parts: list[bytes]) -> None:
        self.sent += parts

    async def drain(self) -> None:
        await self.has_room.wait()

    def frames(self) -> Iterator[Any]:
        left = b"".join(self.sent)
        while left:
            size, _, frame = pamqp.frame.unmarshal(left)
            yield frame
            left = left[size:]


def wire_to(socket: Socket, clock: Callable[[], float] = lambda: 0.5) -> Wire:
    wire = Wire()
    wire.attach(cast("asyncio.StreamWriter", socket), clock)
    return wire


def content(channel: int, method: Any, body: bytes, **properties: Any) -> list[bytes]:
    """The frames of a method with content, as pamqp writes them."""
    header = ContentHeader(body_size=len(body), properties=Basic.Properties(**properties))
    parts = [ContentBody(body[at : at + 1000]) for at in range(0, len(body), 1000)]
    return [pamqp.frame.marshal(each, channel) for each in (method, header, *parts)]


def delivered(tag: int, body: bytes, channel: int = CONSUMING, **properties: Any) -> list[bytes]:
    method = Basic.Deliver(consumer_tag="ctag", delivery_tag=tag, exchange="calls", routing_key="call.ended.default")
    return content(channel, method, body, **properties)


# What is taken


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


# What is published


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 3 * FRAME_MAX])
def test_a_body_of_any_size_is_cut_into_frames_that_the_broker_takes(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    header = ContentHeader(body_size=size, properties=Basic.Properties(message_id="m")).marshal()

    socket = Socket()
    socket.sent = publish(5, ("calls", "key"), header, body[:size], FRAME_MAX)

    method, told, *parts = socket.frames()
    assert (method.exchange, method.routing_key, method.mandatory) == ("calls", "key", True)
    assert (told.body_size, told.properties.message_id) == (size, "m")
    assert b"".join(part.value for part in parts) == body[:size]
    assert all(len(part.value) <= FRAME_MAX - 8 for part in parts)


async def test_a_broker_that_sets_no_limit_to_its_frames_gets_whole_messages() -> None:
    publishing = Publishing(frame_max=0)
    (task,) = await publishing.begin("a")

    assert [frame.value for frame in publishing.socket.frames() if isinstance(frame, ContentBody)] == [b"{}"]
    publishing.hear(Basic.Ack(delivery_tag=1))
    await task


def message(**changes: Any) -> Message:
    given_: dict[str, Any] = {"exchange": "calls", "routing_key": "key", "body": b"{}", "type": "call.ended"}
    return Message(**(given_ | changes))


class Publishing:
    """An outbound lane, and publishes on it."""

    def __init__(self, frame_max: int = FRAME_MAX) -> None:
        self.socket = Socket()
        self.wire = wire_to(self.socket)
        connection = cast("WiredConnection", SimpleNamespace(wire=self.wire))
        self.lane = self.wire.lanes[PUBLISHING] = Outbound(connection, PUBLISHING, frame_max)

    async def begin(self, *call_ids: str) -> list[asyncio.Task[None]]:
        """As many publishes as there are calls, written and not yet answered."""
        tasks = [asyncio.create_task(self.lane.publish(message(call_id=each))) for each in call_ids]
        await asyncio.sleep(0)
        return tasks

    def headers(self) -> list[Any]:
        return [frame for frame in self.socket.frames() if isinstance(frame, ContentHeader)]

    def hear(self, frame: Any) -> bytes:
        return self.wire.feed(pamqp.frame.marshal(frame, PUBLISHING))


async def test_a_confirm_of_many_ends_all_up_to_it_and_one_of_one_that_alone() -> None:
    publishing = Publishing()
    tasks = await publishing.begin(*"abcde")

    publishing.hear(Basic.Ack(delivery_tag=5))
    publishing.hear(Basic.Ack(delivery_tag=3, multiple=True))
    await asyncio.sleep(0)

    assert [task.done() for task in tasks] == [True, True, True, False, True]
    publishing.hear(Basic.Ack(delivery_tag=4))
    await asyncio.gather(*tasks)


async def test_a_nack_is_told_to_the_one_that_it_is_for() -> None:
    publishing = Publishing()
    first, second = await publishing.begin("a", "b")

    publishing.hear(Basic.Nack(delivery_tag=2))
    publishing.hear(Basic.Ack(delivery_tag=1))

    await first
    with pytest.raises(Nacked):
        await second


async def test_a_message_that_comes_back_fails_its_publish_though_the_broker_confirms_it_after() -> None:
    publishing = Publishing()
    first, second = await publishing.begin("a", "b")
    back = Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="calls", routing_key="key")

    for frame in content(PUBLISHING, back, b"{}", message_id=publishing.headers()[1].properties.message_id):
        publishing.wire.feed(frame)
    publishing.hear(Basic.Ack(delivery_tag=2, multiple=True))

    await first
    with pytest.raises(Returned, match="NO_ROUTE"):
        await second


async def test_when_the_channel_ends_nobody_waits_on_and_nothing_more_is_written() -> None:
    publishing = Publishing()
    (task,) = await publishing.begin("a")
    written = len(publishing.socket.sent)

    publishing.lane.fail(ConnectionAbortedError("gone"))

    with pytest.raises(ConnectionAbortedError):
        await task
    with pytest.raises(ConnectionAbortedError):
        await publishing.lane.publish(message())
    assert len(publishing.socket.sent) == written


async def test_a_publish_that_waits_for_room_is_not_written_once_the_channel_ended() -> None:
    publishing = Publishing()
    publishing.socket.has_room.clear()
    (task,) = await publishing.begin("a")

    publishing.lane.fail(ConnectionAbortedError("gone"))
    publishing.socket.has_room.set()

    with pytest.raises(ConnectionAbortedError):
        await asyncio.wait_for(task, 1)
    assert not publishing.socket.sent


async def test_headers_are_no_larger_than_a_frame_of_the_broker() -> None:
    publishing = Publishing()
    with pytest.raises(TooLarge):
        await asyncio.wait_for(publishing.lane.publish(message(headers={"x": "y" * FRAME_MAX})), 1)
    assert not publishing.socket.sent


async def test_headers_that_amqp_cannot_carry_cost_no_number() -> None:
    publishing = Publishing()
    for headers, error in (({"x": object()}, TypeError), ({"x" * 256: 1}, ValueError), ({"x": "\ud83d"}, ValueError)):
        with pytest.raises(error):
            await publishing.lane.publish(message(headers=headers))
    with pytest.raises(TooLarge):
        await publishing.lane.publish(message(headers={"x": "y" * 99_999}))

    (task,) = await publishing.begin("a")
    publishing.hear(Basic.Ack(delivery_tag=1))
    await task


async def test_whoever_waits_no_more_is_not_told() -> None:
    publishing = Publishing()
    first, second = await publishing.begin("a", "b")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    publishing.hear(Basic.Ack(delivery_tag=2, multiple=True))

    await second
    assert first.cancelled()
