"""A delivery that cannot be settled, while the broker takes nothing."""

import asyncio
from datetime import datetime
from typing import cast

import pytest
from msgspec.structs import replace

from consumers.messages import Delivery, Message
from consumers.settling import Schedule
from tests.unit.wires import CONSUMING, Socket, delivered, wire_to
from worker.broker.consuming import Consuming
from worker.broker.deliver import Settler
from worker.broker.publisher import Publisher
from worker.broker.wire import Inbound, Taken
from worker.settings import Secret

NOWHERE = Secret("amqp://127.0.0.1:1")


async def nothing(*_connected: object) -> None:
    """Set nothing up."""


async def handle(_delivery: Delivery, _now: float) -> tuple[Message, ...]:
    return ()


async def test_rejecting_it_waits_no_longer_than_an_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.broker.wire.inbound.SEND_S", 0.01)
    publisher = Publisher(NOWHERE, name="t", timeout_s=1, is_patient=True, set_up=nothing)
    settler = Settler(handle, publisher.publish, Schedule((1,), 60))
    consumer = Consuming(NOWHERE, queue="q", prefetch=1, publisher=publisher, settler=settler, set_up=nothing)
    socket, taken = Socket(), list[Taken]()
    wire = wire_to(socket)
    wire.lanes[CONSUMING] = Inbound(wire, CONSUMING, taken.append)
    wire.feed(b"".join(delivered(1, b"{}")))
    socket.has_room.clear()

    async with asyncio.timeout(5):
        unreadable = replace(taken[0], timestamp=cast("datetime", "no time"))
        await consumer._deliver(unreadable)  # noqa: SLF001  # the broker that takes nothing is none

    assert socket.sent == []
