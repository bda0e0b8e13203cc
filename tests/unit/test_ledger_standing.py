"""What the ledger makes of its events: which calls are accounted for; and its consumer."""

from itertools import permutations

import pytest

from consumers.ledger import (
    ON_ITS_WAY,
    SETTLED,
    Event,
    Kind,
    Standing,
    keep,
    standings,
)
from consumers.outcomes import DatabaseAway
from tests.unit.ledger_messages import NOW, delivered, emitted

# Being accounted for


def standing(*events: tuple[Kind, float]) -> Standing | None:
    return standings([("c", kind, at) for kind, at in events], now=NOW, waiting_s=1020).get("c")


def test_what_settles_a_call_counts_for_ever() -> None:
    assert {"enriched", "amended", "dead", "discarded"} == SETTLED
    assert all(standing((kind, 0)) == "settled" for kind in SETTLED)


def test_what_sends_a_call_on_its_way_counts_for_a_while() -> None:
    assert {"swept", "retried", "held"} == ON_ITS_WAY
    for kind in ON_ITS_WAY:
        assert standing((kind, NOW - 1019)) == "on its way"
        assert standing((kind, NOW - 1020)) is None


def test_a_call_that_waits_for_an_amendment_is_settled() -> None:
    events: list[tuple[Kind, float]] = [("swept", NOW - 30), ("enriched", NOW - 20), ("retried", NOW - 10)]

    assert all(standing(*order) == "settled" for order in permutations(events))


@pytest.mark.parametrize("kind", ["parked", "replayed", "asked"])
def test_what_is_only_said_about_a_call_never_counts(kind: Kind) -> None:
    assert standing((kind, NOW)) is None


# The consumer


async def test_the_ledgers_consumer_records_and_publishes_nothing() -> None:
    recorded: list[Event] = []

    async def record(event: Event) -> None:
        recorded.append(event)

    assert await keep(delivered(emitted()), NOW, record=record) == ()
    assert [event.kind for event in recorded] == ["enriched"]


async def test_a_ledger_that_is_away_is_no_matter_of_the_event() -> None:
    async def record(_event: Event) -> None:
        raise DatabaseAway("no answer")

    with pytest.raises(DatabaseAway):
        await keep(delivered(emitted()), NOW, record=record)
