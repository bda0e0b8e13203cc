"""What is written to publish, and what the broker's answers mean to a publish."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pamqp.frame
import pytest
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from consumers.messages import Message
from consumers.outcomes import TooLarge
from tests.unit.wires import FRAME_MAX, PUBLISHING, Socket, content, wire_to
from worker.broker.wire import Nacked, Outbound, Returned, WiredConnection
from worker.broker.wire.frames import publish


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
