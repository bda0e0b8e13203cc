from consumers.messages import Message
from worker.broker.publisher import Refusals


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def to(key: str) -> Message:
    return Message(exchange="calls", routing_key=key, body=b"", type="call.ended")


def lasting_at(refusals: Refusals, clock: Clock, message: Message, until: int) -> list[int]:
    """The seconds at which refusals, one a second, are called lasting."""
    found = []
    for second in range(until):
        clock.now = float(second)
        if refusals.are_lasting(message):
            found.append(second)
    return found


def test_refusals_are_lasting_after_three_seconds_and_then_ever_more_rarely_up_to_once_a_minute() -> None:
    clock = Clock()

    assert lasting_at(Refusals(clock), clock, to("a"), 240) == [3, 9, 21, 45, 93, 153, 213]


def test_a_message_that_is_taken_begins_it_anew() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    assert lasting_at(refusals, clock, to("a"), 20) == [3, 9]

    refusals.took(to("a"))

    assert not refusals.are_lasting(to("a"))
    clock.now += 3
    assert refusals.are_lasting(to("a"))


def test_each_destination_counts_for_itself() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    assert not refusals.are_lasting(to("a"))
    clock.now = 3

    refusals.took(to("b"))

    assert not refusals.are_lasting(to("b"))
    assert refusals.are_lasting(to("a"))
