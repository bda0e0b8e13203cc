"""Compare the topology with the live broker, through the HTTP API of RabbitMQ's management plugin.

AMQP can neither list bindings nor tell of policies, and a policy can undo what a queue's arguments promise.
Source: https://www.rabbitmq.com/docs/http-api-reference
"""

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from worker.broker.topology import Binding, Exchange, Queue, Topology
from worker.clients.tls import context_of
from worker.operate.words import in_words
from worker.settings import Settings
from worker.settings.tls import NAMES, tls_files_of

T = TypeVar("T")
HTTP_S: Final = 4.0
CONNECT_S: Final = 3.0
STATISTICS_S: Final = 15.0
"""A queue tells its effective policy every 5 s, and the plugin asks every 5 s: a new queue has none for up to 10 s."""
POLL_S: Final = 0.25
PORTS: Final = {"amqp": ("http", 15672), "amqps": ("https", 15671)}
QUEUE_COLUMNS: Final = "name,type,durable,auto_delete,arguments,policy,operator_policy,effective_policy_definition"


MEND: Final = (
    "enable it by `rabbitmq-plugins enable rabbitmq_management`, or say with AFTERCALL_AMQP_MANAGEMENT_URL where it is"
)
MEND_USER: Final = "give the user the tag: rabbitmqctl set_user_tags <user> management"
MEND_STATISTICS: Final = "take management_agent.disable_metrics_collector out of rabbitmq.conf"


class ManagementUnavailable(Exception):
    """The management API cannot be reached, refuses the user, or is something else; the text says which and where."""

    def __init__(self, text: str, mend: str = MEND) -> None:
        super().__init__(text)
        self.mend = mend


class Comparison(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the broker differs from the topology, what could not be compared, a sentence each, and what mends that."""

    differences: list[str]
    not_compared: list[str]
    mend: str = ""


class LiveExchange(msgspec.Struct, frozen=True):
    """An exchange as the management API tells it."""

    name: str
    type: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Any = None


class LiveQueue(msgspec.Struct, frozen=True):
    """A queue as the management API tells it; the effective policy is None until statistics have come in."""

    name: str
    type: str = "classic"
    durable: bool = True
    auto_delete: bool = False
    arguments: Any = None
    policy: str | None = None
    operator_policy: str | None = None
    effective_policy_definition: Any = None


class LiveBinding(msgspec.Struct, frozen=True):
    """A binding as the management API tells it."""

    source: str
    destination: str
    destination_type: str
    routing_key: str


class Live(msgspec.Struct, frozen=True):
    """What there is in the virtual host."""

    exchanges: Mapping[str, LiveExchange]
    queues: Mapping[str, LiveQueue]
    bindings: frozenset[Binding]


async def compare(topology: Topology, settings: Settings) -> Comparison:
    """How the live broker differs from `topology`. Changes nothing; a policy newer than 10 s may be overlooked.

    Raises `ManagementUnavailable`.
    """
    url, vhost = management_of(settings)
    try:
        async with _session(url, context_of(tls_files_of(str(url)))) as session:
            live, unknown = await _read(session, quote(vhost, safe=""), topology)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise ManagementUnavailable(f"at {url.host}:{url.port}: {in_words(error)}") from error
    return Comparison(list(differences(topology, live)), unknown, MEND_STATISTICS if unknown else "")


def management_of(settings: Settings) -> tuple[URL, str]:
    """The root of the management API, user and password within, and the name of the virtual host.

    `AFTERCALL_AMQP_MANAGEMENT_URL`, else the host of the first AMQP URL at the plugin's own port; the user of the AMQP
    URL serves both. Over TLS where AMQP is, since the password goes along, and with the files that are named there.
    """
    amqp = URL(settings.amqp_url.each()[0])
    scheme, port = PORTS.get(amqp.scheme, PORTS["amqp"])
    files = {name: amqp.query[name] for name in NAMES if name in amqp.query}
    url = URL.build(scheme=scheme, host=amqp.host or "127.0.0.1", port=port, query=files)
    if settings.amqp_management_url:
        url = URL(settings.amqp_management_url.reveal())
    if url.user is None:
        url = url.with_user(amqp.user or "guest").with_password(amqp.password or "guest")
    return url, vhost_of(amqp)


def vhost_of(url: URL) -> str:
    """The virtual host an AMQP URL names; `/` if none (https://www.rabbitmq.com/docs/uri-spec)."""
    return url.path[1:].replace("%2F", "/") or "/"


def differences(topology: Topology, live: Live) -> Iterator[str]:
    """Each way in which `live` is not as `topology` asks, a sentence each, naming the thing and both values."""
    for exchange in topology.exchanges:
        yield from _exchange_differences(exchange, live.exchanges.get(exchange.name))
    for queue in topology.queues:
        yield from _queue_differences(queue, live.queues.get(queue.name))
    yield from _binding_differences(topology, live.bindings)
    yield from _policy_differences(topology, live.queues)


def _exchange_differences(asked: Exchange, found: LiveExchange | None) -> Iterator[str]:
    name = f"exchange {asked.name}"
    if found is None:
        yield f"{name} is missing: `aftercall topology apply` declares it"
        return
    if found.type != asked.type:
        yield f"{name} is of type {found.type} where {asked.type} is asked for"
    if found.internal:
        yield f"{name} is internal, so nobody can publish to it"
    yield from _lasting(name, found)
    yield from _argument_differences(name, asked.arguments, _mapping(found.arguments))


def _queue_differences(asked: Queue, found: LiveQueue | None) -> Iterator[str]:
    name = f"queue {asked.name}"
    if found is None:
        yield f"{name} is missing: `aftercall topology apply` declares it"
        return
    yield from _lasting(name, found)
    # A virtual host may have a default type: then the type is right and the argument absent.
    yield from _argument_differences(name, asked.arguments, _mapping(found.arguments) | {"x-queue-type": found.type})


def _lasting(name: str, found: LiveExchange | LiveQueue) -> Iterator[str]:
    if not found.durable:
        yield f"{name} is not durable: it ends when the broker restarts"
    if found.auto_delete:
        yield f"{name} deletes itself when it is used no more"


def _argument_differences(name: str, asked: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(asked.keys() | found.keys()):
        if key not in found:
            yield f"{name} lacks {key}, and {asked[key]} is asked for"
        elif key not in asked:
            yield f"{name} has {key} {found[key]}, and none is asked for"
        elif found[key] != asked[key]:
            yield f"{name} has {key} {found[key]}, and {asked[key]} is asked for"


def _policy_differences(topology: Topology, found: Mapping[str, LiveQueue]) -> Iterator[str]:
    """What the effective policies break, each kind of trouble once, with all the queues it is on."""
    troubled: dict[str, list[str]] = {}
    for asked in topology.queues:
        if (queue := found.get(asked.name)) is not None:
            for trouble in _policy_troubles(asked.arguments, _mapping(queue.effective_policy_definition)):
                troubled.setdefault(f"{_policies_of(queue)} sets {trouble}", []).append(asked.name)
    yield from (f"{trouble}, on {', '.join(names)}" for trouble, names in troubled.items())


def _policies_of(queue: LiveQueue) -> str:
    named = ((queue.policy, "policy"), (queue.operator_policy, "operator policy"))
    return " with ".join(f"{kind} {name}" for name, kind in named if name) or "a policy"


def _policy_troubles(own: Mapping[str, Any], policy: Mapping[str, Any]) -> Iterator[str]:
    """What a policy does to a queue that its `own` arguments were to prevent. A length that rejects is capacity.

    Who wins: of overflow the policy, of times and limits the smaller of policy and argument
    (https://www.rabbitmq.com/docs/policies).
    """
    overflow = policy.get("overflow", own.get("x-overflow", "drop-head"))
    if "x-dead-letter-strategy" in own and overflow != "reject-publish":
        yield f"overflow {overflow}, and dead-lettering is at-least-once only with reject-publish"
    elif overflow != "reject-publish" and (lengths := sorted(policy.keys() & {"max-length", "max-length-bytes"})):
        yield f"{' and '.join(lengths)} without overflow reject-publish, which drops the oldest messages"
    if "expires" in policy:
        yield f"expires {policy['expires']}, which deletes an unused queue with its messages"
    for key in ("message-ttl", "delivery-limit"):
        limit, asked = policy.get(key), own.get(f"x-{key}")
        if isinstance(limit, int) and (asked is None or limit < asked):
            yield f"{key} {limit}, and {'none' if asked is None else asked} is asked for"


def _binding_differences(topology: Topology, found: frozenset[Binding]) -> Iterator[str]:
    ours = {queue.name for queue in topology.queues}
    for binding in topology.bindings:
        if binding not in found:
            yield f"{_name(binding)} is missing: `aftercall topology apply` declares it"
    extra = {binding for binding in found if binding.queue in ours and binding.exchange} - set(topology.bindings)
    for binding in sorted(extra, key=_name):
        yield f"{_name(binding)} is not asked for: unbind it if it is a leftover"


def _name(binding: Binding) -> str:
    return f"binding of queue {binding.queue} to exchange {binding.exchange} by {binding.key!r}"


def _mapping(value: Any) -> dict[str, Any]:
    """An object of the API, which writes an empty one as a list at times."""
    return value if isinstance(value, dict) else {}


def _session(url: URL, context: ssl.SSLContext) -> aiohttp.ClientSession:
    login = aiohttp.encode_basic_auth(url.user or "", url.password or "")
    return aiohttp.ClientSession(
        url.with_user(None).with_query(None).joinpath("api/"),
        connector=aiohttp.TCPConnector(ssl=context),
        headers={"Authorization": login},
        timeout=aiohttp.ClientTimeout(total=HTTP_S, sock_connect=CONNECT_S),
    )


async def _read(session: aiohttp.ClientSession, vhost: str, topology: Topology) -> tuple[Live, list[str]]:
    exchanges = await _get(session, f"exchanges/{vhost}", list[LiveExchange])
    bindings = await _get(session, f"bindings/{vhost}", list[LiveBinding])
    queues, unknown = await _queues(session, vhost, {queue.name for queue in topology.queues})
    live = Live(
        {exchange.name: exchange for exchange in exchanges},
        queues,
        frozenset(Binding(b.source, b.destination, b.routing_key) for b in bindings if b.destination_type == "queue"),
    )
    return live, unknown


async def _queues(session: aiohttp.ClientSession, vhost: str, ours: set[str]) -> tuple[dict[str, LiveQueue], list[str]]:
    """All queues, as soon as the effective policies of ours are known, and a sentence if they stay unknown."""
    deadline = time.monotonic() + STATISTICS_S
    without = await _has_no_policies(session, vhost)
    while True:
        listed = await _get(session, f"queues/{vhost}?columns={QUEUE_COLUMNS}", list[LiveQueue])
        unknown = [each.name for each in listed if each.name in ours and each.effective_policy_definition is None]
        if without or not unknown or time.monotonic() > deadline:
            break
        await asyncio.sleep(POLL_S)
    queues = {queue.name: queue for queue in listed}
    if without or not unknown:
        return queues, []
    return queues, [f"the policies of {', '.join(sorted(unknown))}: RabbitMQ has no statistics of them"]


async def _has_no_policies(session: aiohttp.ClientSession, vhost: str) -> bool:
    """Whether the virtual host surely has no policy, as far as the user may know."""
    for kind in ("policies", "operator-policies"):
        async with session.get(f"{kind}/{vhost}") as response:
            if response.status != HTTPStatus.OK or await response.json() != []:
                return False
    return True


async def _get(session: aiohttp.ClientSession, path: str, type_: type[T]) -> T:
    async with session.get(path) as response:
        if response.status in (401, 403):
            raise ManagementUnavailable(f"{response.url.origin()} refuses the user", MEND_USER)
        response.raise_for_status()
        return msgspec.json.decode(await response.read(), type=type_)
