"""What there is at the live broker, told by the HTTP API of RabbitMQ's management plugin.

AMQP can neither list bindings nor tell of policies.
Source: https://www.rabbitmq.com/docs/http-api-reference
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from worker.broker.topology import Binding, Topology
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


async def look(topology: Topology, settings: Settings) -> tuple[Live, list[str]]:
    """What there is, once the effective policies of the topology's queues are known; a sentence if they stay unknown.

    A policy newer than 10 s may be overlooked. Raises `ManagementUnavailable`.
    """
    url, vhost = management_of(settings)
    try:
        async with _session(url, context_of(tls_files_of(str(url)))) as session:
            return await _read(session, quote(vhost, safe=""), topology)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise ManagementUnavailable(f"at {url.host}:{url.port}: {in_words(error)}") from error


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
