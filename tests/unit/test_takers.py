"""Whether something takes what a replay publishes, as far as the topology knows."""

import pytest

from consumers.replays import Destination
from worker.broker.dead_letters import fits, takers_of
from worker.broker.topology import topology_of
from worker.settings import load


@pytest.mark.parametrize(
    ("pattern", "key", "is_taken"),
    [
        ("call.ended.acme", "call.ended.acme", True),
        ("call.ended.acme", "call.ended.other", False),
        ("call.enriched.#", "call.enriched", True),
        ("call.enriched.#", "call.enriched.a.b.c", True),
        ("call.enriched.*.failed.#", "call.enriched.a.failed.transport-error", True),
        ("call.enriched.*.failed.#", "call.enriched.a.b.failed", False),
        ("#.failed", "call.failed.failed", True),
        ("#", "", True),
        ("*", "", True),  # an empty key is one empty word, to RabbitMQ too
        ("a.*", "a", False),
    ],
)
def test_topic_patterns(pattern: str, key: str, is_taken: bool) -> None:
    assert fits(pattern, key) is is_taken


@pytest.mark.parametrize(
    ("exchange", "key", "takers"),
    [
        ("calls.requeue", "calls.anything", ("calls.anything",)),
        ("calls.dead", "calls.crm", ("calls.crm.dead",)),
        ("calls", "call.ended.default", ("calls.enrich.default",)),
        ("calls", "call.noted.default.dead", ("calls.ledger",)),
        ("calls", "call.ended.nobody", ()),
        ("calls.retry.5s", "calls.crm", ("calls.retry.5s",)),
        ("calls.unrouted", "x", ()),
        ("elsewhere", "x", ()),
    ],
)
def test_who_takes_what(exchange: str, key: str, takers: tuple[str, ...]) -> None:
    assert takers_of(topology_of(load({})), Destination(exchange, key)) == takers
