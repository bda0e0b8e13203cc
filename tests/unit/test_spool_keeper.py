"""Where an accepted message goes, and when the broker counts as away: the state machine alone."""

from collections import Counter

import pytest

from consumers.messages import Message
from consumers.outcomes import TooLarge
from worker.broker.publisher import PublishFailed
from worker.ingress.spool.file import Record
from worker.ingress.spool.keeper import PAUSE_MAX_S, Gate, Keeper
from worker.ingress.spool.writer import SpoolFailed


def message(account: str = "default") -> Message:
    return Message(exchange="calls", routing_key=f"call.ended.{account}", body=b"{}", type="call.ended")


def timed_out() -> PublishFailed:
    error = PublishFailed("the broker does not answer")
    error.__cause__ = TimeoutError()
    return error


class World:
    """A broker that does as told, a spool that takes or refuses, and a clock."""

    def __init__(self) -> None:
        self.says: Exception | None = None
        self.is_connected = True
        self.spool_works = True
        self.now = 100.0
        self.tried: Counter[str] = Counter()
        self.gate = Gate(lambda: self.is_connected, clock=lambda: self.now)
        self.keeper = Keeper(self.publish, self.keep, self.gate)

    async def publish(self, message: Message) -> None:
        self.tried[message.routing_key.rpartition(".")[2]] += 1
        if self.says is not None:
            raise self.says

    async def keep(self, _message: Message) -> None:
        if not self.spool_works:
            raise SpoolFailed("full")

    async def accept(self, account: str = "default") -> str:
        return await self.keeper.accept(message(account))


@pytest.fixture
def world() -> World:
    return World()


def record(number: int, account: str = "default") -> Record:
    return Record(None, number, 0.0, message(account))  # type: ignore[arg-type]  # of no file


async def test_a_broker_that_takes_messages_gets_them(world: World) -> None:
    assert await world.accept() == "published"


async def test_without_a_connection_nothing_is_tried(world: World) -> None:
    world.is_connected = False

    assert await world.accept() == "spooled"
    assert not world.tried


async def test_after_one_timeout_all_goes_to_the_spool_until_a_publish_of_the_drain_succeeds(world: World) -> None:
    world.says = timed_out()
    assert [await world.accept() for _ in range(5)] == ["spooled"] * 5
    assert await world.accept("another") == "spooled"
    assert world.tried == {"default": 1}

    world.says = None
    assert await world.accept() == "spooled", "only the drain finds out"
    world.gate.succeeded(message())

    assert await world.accept() == "published"


async def test_a_refused_message_is_spooled_and_only_the_third_in_a_row_rests_its_destination(world: World) -> None:
    world.says = PublishFailed("nacked")
    assert [await world.accept() for _ in range(5)] == ["spooled"] * 5
    assert world.tried == {"default": 3}

    world.says = None

    assert await world.accept() == "spooled"
    assert await world.accept("another") == "published", "one client's trouble delays no other's calls"


async def test_a_success_between_forgets_the_failures(world: World) -> None:
    for _ in range(4):
        world.says = PublishFailed("nacked")
        await world.accept()
        await world.accept()
        world.says = None
        assert await world.accept() == "published"


async def test_failures_without_a_connection_are_no_fault_of_the_destination(world: World) -> None:
    world.says = PublishFailed("the connection was closed")
    for _ in range(9):
        world.is_connected = False
        world.gate.failed(message(), world.says)
        world.is_connected = True

    world.says = None

    assert await world.accept() == "published"


@pytest.mark.parametrize("error", [TooLarge("x"), TypeError("x"), ValueError("x")])
async def test_a_message_that_the_broker_can_never_take_is_spooled_and_no_sign_of_trouble(
    world: World, error: Exception
) -> None:
    world.says = error
    assert [await world.accept() for _ in range(5)] == ["spooled"] * 5

    world.says = None

    assert await world.accept() == "published"


async def test_it_is_refused_only_when_the_broker_is_away_and_the_spool_fails(world: World) -> None:
    world.spool_works = False
    assert await world.accept() == "published"

    world.is_connected = False
    with pytest.raises(SpoolFailed):
        await world.accept()
    world.is_connected, world.says = True, timed_out()
    with pytest.raises(SpoolFailed):
        await world.accept()
    assert world.tried["default"] == 2, "a message that was tried is not tried again"


async def test_a_shut_gate_opens_even_if_the_spool_has_nothing_to_try_with(world: World) -> None:
    world.says = timed_out()
    await world.accept()
    world.says, world.spool_works = None, False

    assert await world.accept() == "published"

    world.spool_works = True
    assert await world.accept() == "published"
    assert not world.gate.is_shut


async def test_an_error_nobody_foresaw_is_no_reason_to_refuse_a_call(world: World) -> None:
    world.says = KeyError("a bug")
    assert await world.accept() == "spooled"

    world.says = None

    assert await world.accept() == "published"


def test_while_the_gate_is_shut_the_drain_sends_one_record_at_a_time(world: World) -> None:
    records = [record(number) for number in range(10)]
    assert world.gate.choose(records) == records

    world.gate.failed(message(), timed_out())

    assert world.gate.choose(records) == records[:1]


def test_of_a_destination_that_rests_the_drain_sends_one_and_of_others_all(world: World) -> None:
    for _ in range(3):
        world.gate.failed(message("bad"), PublishFailed("nacked"))
    records = [record(1, "bad"), record(2), record(3, "bad"), record(4)]

    assert [each.id for each in world.gate.choose(records)] == [1, 2, 4]


def test_the_pauses_of_a_destination_grow_to_a_limit_and_end_with_a_success(world: World) -> None:
    pauses = []
    for _ in range(8):
        began = world.now
        world.gate.failed(message(), timed_out())
        while world.gate.waiting():
            world.now += 0.25
        pauses.append(world.now - began)
    assert pauses[:5] == [0.5, 1, 2, 4, 5]
    assert max(pauses) == PAUSE_MAX_S

    world.gate.succeeded(message())

    assert not world.gate.waiting()
    world.gate.failed(message(), timed_out())
    assert world.gate.waiting() == [("calls", "call.ended.default")]


def test_many_failures_at_once_count_as_one_for_the_pause(world: World) -> None:
    for _ in range(100):
        world.gate.failed(message(), timed_out())

    world.now += 0.5

    assert not world.gate.waiting()
