from typing import Any

import pytest

from consumers.ended_reasons import RULES
from worker.broker.differences import differences
from worker.broker.management import Live, LiveExchange, LiveQueue, management_of
from worker.broker.topology import Binding, Exchange, Queue, Topology, dead_queue, topology_of
from worker.settings import Settings, SettingsError, load

SAFELY = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish", "x-queue-type": "quorum"}


def settings_of(**keys: str) -> Settings:
    return load({f"AFTERCALL_{key}": value for key, value in keys.items()})


@pytest.fixture
def topology() -> Topology:
    return topology_of(settings_of(VAPI_API_KEY="k", ACCOUNTS__ACME__VAPI_API_KEY="k", SUBSCRIBERS="crm,alerts"))


def test_every_queue_is_a_quorum_queue_whose_name_starts_with_calls(topology: Topology) -> None:
    assert {queue.arguments["x-queue-type"] for queue in topology.queues} == {"quorum"}
    assert all(queue.name.startswith("calls") for queue in topology.queues)


def test_an_account_has_one_queue_and_one_binding_of_its_own(topology: Topology) -> None:
    ended = [each for each in topology.bindings if each.key.startswith("call.ended")]
    assert ended == [
        Binding("calls", "calls.enrich.default", "call.ended.default"),
        Binding("calls", "calls.enrich.acme", "call.ended.acme"),
    ]


def test_a_consumed_queue_dead_letters_into_its_own_place_and_can_be_reached_by_its_name(topology: Topology) -> None:
    consumed = [queue for queue in topology.queues if queue.is_consumed]
    assert {queue.name for queue in consumed} == {
        f"calls.{n}" for n in ("enrich.default", "enrich.acme", "crm", "alerts")
    }
    for queue in consumed:
        assert queue.arguments == SAFELY | {
            "x-dead-letter-exchange": "calls.dead",
            "x-dead-letter-routing-key": queue.name,
            "x-delivery-limit": 100,
        }
        assert Binding("calls.dead", dead_queue(queue.name), queue.name) in topology.bindings
        assert Binding("calls.requeue", queue.name, queue.name) in topology.bindings


def test_a_tier_waits_and_goes_back_through_an_exchange_that_has_an_alternate(topology: Topology) -> None:
    tier = next(queue for queue in topology.queues if queue.name == "calls.retry.2m")
    assert tier.arguments["x-message-ttl"] == 120_000
    assert tier.arguments["x-dead-letter-exchange"] == "calls.requeue"
    assert "x-dead-letter-routing-key" not in tier.arguments
    assert Exchange("calls.requeue", "direct", {"alternate-exchange": "calls.unrouted"}) in topology.exchanges


def test_queues_that_keep_have_neither_a_time_nor_a_limit_nor_a_negative_number(topology: Topology) -> None:
    keeping = [each for each in topology.queues if each.name.endswith(".dead") or each.name == "calls.unrouted"]
    assert len(keeping) == 6  # the four consumed, the endpoint's, and what nobody takes
    assert all(each.arguments == {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1} for each in keeping)


def test_alerts_are_bound_to_the_failed_calls_of_the_contract(topology: Topology) -> None:
    bound = [each.key for each in topology.bindings if each.queue == "calls.alerts" and each.exchange == "calls"]
    assert bound == ["call.enriched.*.failed.#"]
    assert "failed" in {result for _, result, _ in RULES}


def test_the_part_of_one_queue_is_what_it_rests_on(topology: Topology) -> None:
    part = topology.only("calls.crm")
    assert {queue.name for queue in part.queues} == {"calls.crm", "calls.crm.dead"}
    assert {binding.queue for binding in part.bindings} == {"calls.crm", "calls.crm.dead"}
    assert part.exchanges == (), "declared anew an exchange would lack the other queues' bindings"


def live_as(topology: Topology) -> Live:
    return Live(
        {each.name: LiveExchange(each.name, each.type, arguments=each.arguments) for each in topology.exchanges},
        {each.name: LiveQueue(each.name, "quorum", arguments=each.arguments) for each in topology.queues},
        frozenset((*topology.bindings, *(Binding("", each.name, each.name) for each in topology.queues))),
    )


def differences_with(topology: Topology, *, exchange: LiveExchange | None = None, queue: LiveQueue) -> list[str]:
    live = live_as(topology)
    exchanges = dict(live.exchanges) | ({exchange.name: exchange} if exchange else {})
    return list(differences(topology, Live(exchanges, dict(live.queues) | {queue.name: queue}, live.bindings)))


def queue_of(topology: Topology, name: str) -> Queue:
    return next(queue for queue in topology.queues if queue.name == name)


def test_a_broker_that_is_as_asked_has_no_differences(topology: Topology) -> None:
    assert list(differences(topology, live_as(topology))) == []


def test_an_empty_broker_lacks_each_thing_by_name(topology: Topology) -> None:
    found = list(differences(topology, Live({}, {}, frozenset())))
    assert len(found) == len(topology.exchanges) + len(topology.queues) + len(topology.bindings)
    assert "queue calls.crm is missing: `aftercall topology apply` declares it" in found
    assert all("is missing" in difference for difference in found)


def test_each_argument_that_differs_is_named_with_both_values(topology: Topology) -> None:
    arguments: dict[str, Any] = {**queue_of(topology, "calls.crm").arguments, "x-delivery-limit": 20, "x-max-length": 9}
    del arguments["x-overflow"]
    found = differences_with(topology, queue=LiveQueue("calls.crm", "quorum", arguments=arguments))
    assert found == [
        "queue calls.crm has x-delivery-limit 20, and 100 is asked for",
        "queue calls.crm has x-max-length 9, and none is asked for",
        "queue calls.crm lacks x-overflow, and reject-publish is asked for",
    ]


def test_a_queue_of_another_type_is_named(topology: Topology) -> None:
    arguments = queue_of(topology, "calls.crm").arguments
    found = differences_with(topology, queue=LiveQueue("calls.crm", "classic", durable=False, arguments=arguments))
    assert found == [
        "queue calls.crm is not durable: it ends when the broker restarts",
        "queue calls.crm has x-queue-type classic, and quorum is asked for",
    ]


def test_the_type_that_a_virtual_host_gives_by_default_counts_though_no_argument_tells_it(topology: Topology) -> None:
    arguments = {"x-delivery-limit": 2**31 - 1}
    assert differences_with(topology, queue=LiveQueue("calls.unrouted", "quorum", arguments=arguments)) == []


def test_an_exchange_of_another_type_or_without_its_alternate_is_named(topology: Topology) -> None:
    as_asked = live_as(topology).queues["calls.crm"]
    exchange = LiveExchange("calls", "fanout", internal=True, arguments=[])
    assert differences_with(topology, exchange=exchange, queue=as_asked) == [
        "exchange calls is of type fanout where topic is asked for",
        "exchange calls is internal, so nobody can publish to it",
        "exchange calls lacks alternate-exchange, and calls.unrouted is asked for",
    ]


def test_bindings_that_are_missing_or_left_over_on_our_queues_are_named_and_those_of_others_are_not(
    topology: Topology,
) -> None:
    live = live_as(topology)
    others = {Binding("calls", "calls.crm", "call.#"), Binding("calls", "somebody.elses", "call.#")}
    bindings = (live.bindings | others) - {Binding("calls", "calls.crm", "call.amended.#")}
    missing, extra = differences(topology, Live(live.exchanges, live.queues, bindings))
    assert missing.startswith("binding of queue calls.crm to exchange calls by 'call.amended.#' is missing")
    assert extra.startswith("binding of queue calls.crm to exchange calls by 'call.#' is not asked for")


@pytest.mark.parametrize(
    ("queue", "definition", "trouble"),
    [
        ("calls.crm", {"overflow": "drop-head"}, "overflow drop-head, and dead-lettering is at-least-once only"),
        ("calls.retry.2m", {"overflow": "reject-publish-dlx"}, "overflow reject-publish-dlx"),
        ("calls.retry.2m", {"message-ttl": 1000}, "message-ttl 1000, and 120000 is asked for"),
        ("calls.crm.dead", {"message-ttl": 86400000}, "message-ttl 86400000, and none is asked for"),
        ("calls.crm.dead", {"max-length": 10}, "max-length without overflow reject-publish"),
        ("calls.crm.dead", {"delivery-limit": 20}, "delivery-limit 20, and 2147483647 is asked for"),
        ("calls.crm", {"expires": 60000}, "expires 60000, which deletes"),
    ],
)
def test_an_effective_policy_that_breaks_what_the_arguments_promise_is_named(
    topology: Topology, queue: str, definition: dict[str, Any], trouble: str
) -> None:
    arguments = queue_of(topology, queue).arguments
    found = LiveQueue(queue, "quorum", arguments=arguments, policy="p", effective_policy_definition=definition)
    (difference,) = differences_with(topology, queue=found)
    assert difference.startswith(f"policy p sets {trouble}")
    assert difference.endswith(f"on {queue}")


@pytest.mark.parametrize(
    ("queue", "definition"),
    [
        ("calls.crm", {"max-length": 10, "consumer-timeout": 1}),
        ("calls.crm", {"overflow": "reject-publish", "max-length-bytes": 10}),
        ("calls.crm.dead", {"overflow": "reject-publish", "max-length": 10}),
        ("calls.retry.2m", {"message-ttl": 999_999_999}),
        ("calls.crm", []),
    ],
)
def test_a_policy_about_capacity_is_no_difference(topology: Topology, queue: str, definition: Any) -> None:
    arguments = queue_of(topology, queue).arguments
    found = LiveQueue(queue, "quorum", arguments=arguments, policy="p", effective_policy_definition=definition)
    assert differences_with(topology, queue=found) == []


def test_one_policy_on_many_queues_is_one_difference_that_names_them(topology: Topology) -> None:
    live = live_as(topology)
    drop = {"effective_policy_definition": {"overflow": "drop-head"}, "policy": "p", "operator_policy": "o"}
    queues = {name: LiveQueue(name, "quorum", arguments=each.arguments, **drop) for name, each in live.queues.items()}
    (difference,) = differences(topology, Live(live.exchanges, queues, live.bindings))
    assert difference.startswith("policy p with operator policy o sets overflow drop-head")
    assert "calls.crm, " in difference
    assert "calls.retry.6h" in difference
    assert ".dead" not in difference


@pytest.mark.parametrize(
    ("amqp", "given", "expected", "vhost"),
    [
        ("amqp://u:p@rabbit/", "", "http://u:p@rabbit:15672", "/"),
        ("amqp://u:p@rabbit:5673/calls,amqp://u:p@other", "", "http://u:p@rabbit:15672", "calls"),
        ("amqps://u:p%40@rabbit/a%2Fb", "", "https://u:p%40@rabbit:15671", "a/b"),
        ("amqp://localhost", "", "http://guest:guest@localhost:15672", "/"),
        ("amqp://u:p@rabbit/", "https://m.example/rabbit", "https://u:p@m.example/rabbit", "/"),
        ("amqp://u:p@rabbit/", "http://admin:s@m.example:1", "http://admin:s@m.example:1", "/"),
    ],
)
def test_the_management_api_is_where_the_settings_say_or_at_the_host_of_the_first_broker(
    amqp: str, given: str, expected: str, vhost: str
) -> None:
    url, found = management_of(settings_of(AMQP_URL=amqp, AMQP_MANAGEMENT_URL=given))
    assert (str(url), found) == (expected, vhost)


@pytest.mark.parametrize("text", ["rabbit:15672", "rabbit", "http://rabbit:port", "http://"])
def test_a_management_url_that_is_none_is_an_error_of_the_settings(text: str) -> None:
    with pytest.raises(SettingsError, match=r"AFTERCALL_AMQP_MANAGEMENT_URL: .* reads http://host:15672"):
        settings_of(AMQP_MANAGEMENT_URL=text)


def test_the_ledger_is_bound_last_so_that_what_another_queue_misses_meanwhile_is_swept() -> None:
    bound = [
        each.queue for each in topology_of(settings_of(SUBSCRIBERS="ledger,crm")).bindings if each.exchange == "calls"
    ]

    assert bound == ["calls.enrich.default", *["calls.crm"] * 2, *["calls.ledger"] * 3]
