"""A user of the broker for each role, with exactly the rights that it needs: a table from which all exports follow.

Rights are regular expressions over the names of exchanges and queues: `configure` declares and deletes, `write`
publishes (with `read` on the exchange it binds), `read` consumes. Since 4.3.1 a name can be looked at only by a user
with some right to it, so a role has that to write on the queues too that its messages go to: it waits for them, and
without a right to read an exchange can do nothing else with it (measured on 3.10.8 and 4.3.6).
Source: https://www.rabbitmq.com/docs/access-control
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from consumers.messages import DEAD, ENRICH, EVENTS, REQUEUE, RETRY, UNROUTED, WEBHOOK
from worker.broker.topology import Topology, dead_queue, subscriber_queue
from worker.settings.fields import SUBSCRIBERS

Right = Literal["configure", "write", "read"]
PREFIX: Final = "aftercall-"
NOTHING: Final = "^$"
OURS: Final = r"^calls(\..+)?$"
KEEPING: Final = r"^calls\.(unrouted|.+\.dead)$"
WATCHING: Final = r"calls\.watch\..+"
EMITTED: Final = r"^call\.(enriched|amended)\."
NOTED: Final = r"^call\.noted\..*\.({what})$"
TRIED: Final = NOTED.format(what="retried|held|dead")


class Topics(msgspec.Struct, frozen=True):
    """Which routing keys of `calls` a user may publish (`write`) and bind to (`read`)."""

    write: str
    read: str = NOTHING


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user of the broker: for which `role`, its rights, and its tags, which are for the management plugin."""

    role: str
    purpose: str
    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    topics: Topics | None = None
    tags: tuple[Literal["management"], ...] = ()

    @property
    def name(self) -> str:
        """Its name at the broker."""
        return PREFIX + self.role

    def may(self, right: Right, name: str) -> bool:
        """Whether it has a right to the exchange or queue of that name."""
        return re.search(getattr(self, right), name) is not None

    def sees(self, name: str) -> bool:
        """Whether it may look if an exchange or queue of that name is there."""
        return any(re.search(pattern, name) for pattern in (self.configure, self.write, self.read))


def users_of(topology: Topology) -> Mapping[str, User]:
    """The users, by their roles: those that settings give a queue to, and those that every installation has."""
    names = [queue.name for queue in topology.queues if queue.is_consumed]
    enriching = [name for name in names if name.startswith(ENRICH)]
    subscribed = [name.removeprefix(f"{EVENTS}.") for name in names if name not in enriching]
    roles = [_webhook(topology, enriching), _enrich(topology, enriching), _sweep(topology, enriching)]
    for name in subscribed:
        roles += [_consumer(topology, name)] if name in SUBSCRIBERS else [_handler(topology, name)]
    others = [_client(name) for name in subscribed if name not in SUBSCRIBERS]
    return {user.role: user for user in (*roles, _all(roles), *others, *_operators(topology))}


def handler_role(name: str) -> str:
    """The role of a handler of the user's that `aftercall consume` runs on the queue of that name."""
    return f"handler-{name}"


def part_of(topology: Topology, users: Iterable[User]) -> Topology:
    """What the roles of a process rest upon, and one that may declare nothing can look at."""
    users = tuple(users)
    exchanges = tuple(each for each in topology.exchanges if any(user.sees(each.name) for user in users))
    queues = tuple(each for each in topology.queues if any(user.sees(each.name) for user in users))
    return Topology(exchanges, queues, ())


def _webhook(topology: Topology, enriching: list[str]) -> User:
    to = (EVENTS, DEAD, *enriching, dead_queue(WEBHOOK), *_ledger(topology))
    keys = Topics(f"^call\\.ended\\.|{NOTED.format(what='parked')}")
    return User(role="webhook", purpose="`aftercall webhook`", write=_only(to), topics=keys)


def _sweep(topology: Topology, enriching: list[str]) -> User:
    keys = Topics(f"^call\\.ended\\.|{NOTED.format(what='asked|swept')}")
    to = (EVENTS, *enriching, *_ledger(topology))
    return User(role="sweep", purpose="`aftercall sweep`", write=_only(to), topics=keys)


def _enrich(topology: Topology, enriching: list[str]) -> User:
    subscribed = [queue.name for queue in topology.queues if queue.is_consumed and queue.name not in enriching]
    to = (EVENTS, *_trouble(topology, enriching), *subscribed)
    keys, read = Topics(f"{EMITTED}|{TRIED}"), _only(enriching)
    return User(role="enrich", purpose="`aftercall consume enrich`", write=_only(to), read=read, topics=keys)


def _consumer(topology: Topology, name: str) -> User:
    """A consumer, which publishes its troubles alone; the ledger sends no notes, for it would be their only reader."""
    queue, ledger = subscriber_queue(name), tuple(_ledger(topology))
    events = (EVENTS, *ledger) if ledger and name != "ledger" else ()
    return User(
        role=name,
        purpose=f"`aftercall consume {name}`",
        write=_only((*events, *_trouble(topology, [queue]))),
        read=_only([queue]),
        topics=Topics(TRIED) if events else None,
    )


def _handler(topology: Topology, name: str) -> User:
    purpose = f"`aftercall consume package.module:function --queue {name}`"
    return msgspec.structs.replace(_consumer(topology, name), role=handler_role(name), purpose=purpose)


def _client(name: str) -> User:
    read = _only([subscriber_queue(name)])
    purpose = f"any AMQP client that takes from `{subscriber_queue(name)}`"
    return User(role=f"client-{name}", purpose=purpose, read=read)


def _all(roles: Iterable[User]) -> User:
    """Every role in one process: what any of them may do."""
    roles = tuple(roles)
    write, read = (_either(getattr(user, right) for user in roles) for right in ("write", "read"))
    return User(role="all", purpose="`aftercall all`", write=write, read=read)


def _operators(topology: Topology) -> Iterable[User]:
    """Those that people use, and what looks on for them."""
    declares = "`aftercall topology apply` and `check`"
    yield User(role="topology", purpose=declares, configure=OURS, write=OURS, read=OURS, tags=("management",))
    yield _operator(topology)
    yield _tail()
    yield User(role="monitor", purpose="whoever only looks: KEDA, the management plugin's pages", tags=("management",))


def _operator(topology: Topology) -> User:
    kept = {UNROUTED, *(queue.name for queue in topology.queues if queue.name.endswith(".dead"))}
    to = (EVENTS, DEAD, REQUEUE, *(queue.name for queue in topology.queues if queue.name not in kept))
    commands = "`aftercall dead`, `replay`, `doctor`"
    return User(role="operator", purpose=commands, write=_only(to), read=KEEPING, tags=("management",))


def _tail() -> User:
    return User(
        role="tail",
        purpose="`aftercall tail`",
        configure=f"^{WATCHING}$",
        write=f"^{WATCHING}$",
        read=f"^({EVENTS}|{WATCHING})$",
        topics=Topics(NOTHING, EMITTED),
    )


def _trouble(topology: Topology, queues: Iterable[str]) -> Iterable[str]:
    """Where deliveries go that could not be handled."""
    yield DEAD
    yield from (exchange.name for exchange in topology.exchanges if exchange.name.startswith(RETRY))
    yield from map(dead_queue, queues)


def _ledger(topology: Topology) -> Iterable[str]:
    """The queue that takes notes, if there is one."""
    ledger = subscriber_queue("ledger")
    return (queue.name for queue in topology.queues if queue.name == ledger)


def _only(names: Iterable[str]) -> str:
    """A pattern that fits these names and no other."""
    escaped = [name.replace(".", r"\.") for name in dict.fromkeys(names)]
    return f"^({'|'.join(escaped)})$" if escaped else NOTHING


def _either(patterns: Iterable[str]) -> str:
    """The pattern, as `_only` makes them, that fits what any of these does."""
    each = (names for pattern in patterns for names in pattern.removeprefix("^(").removesuffix(")$").split("|"))
    return f"^({'|'.join(dict.fromkeys(names for names in each if names != NOTHING))})$"
