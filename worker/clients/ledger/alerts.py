"""The alerts' tables: which calls a rule has seen, how far the telling has come, and which process tells."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Connection, case, delete, func, select, tuple_, update

from consumers.alerts.groups import State
from consumers.alerts.rounds import Key, Look, Place, Watch
from consumers.alerts.rules import Rule
from consumers.alerts.sightings import Sighting
from consumers.alerts.texts import Example
from consumers.alerts.windows import Hearing, Measured
from worker.clients.ledger import lease
from worker.clients.ledger.schema import ALERT_CALLS, ALERTS, LEDGER
from worker.clients.sql.database import insert_into
from worker.clients.sql.store import SqlStore

LEASE: Final = "alerts"
CALL_KEYS: Final = ("rule", "account", "call_id")
STATE_KEYS: Final = ("rule", "account", "target")
OF_A_LATER_EVENT: Final = ("rank", "matched", "value", "told")
PRUNED_AT_ONCE: Final = 5000


class Round(msgspec.Struct, frozen=True):
    """The states after a look, and until when (epoch seconds) it is ours to tell."""

    states: Mapping[Key, State]
    until: float


class AlertStore(SqlStore):
    """What is asked of the tables, one method a transaction. For its own thread only; raises as `Database` does."""

    def __init__(self, url: Callable[[], str]) -> None:
        super().__init__(url, LEDGER)

    def record(self, seen: Sequence[tuple[Sequence[Sighting], float]]) -> list[None]:
        """Write what calls are to the rules, and when that was heard; of a call's events that of the greatest rank.

        In one order in every process: two that write some of the same calls would else wait for each other.
        """
        rows = [_call_row(sighting, now) for sightings, now in seen for sighting in sightings]
        rows.sort(key=lambda row: [row[name] for name in CALL_KEYS])
        with self._database.writing() as connection:
            insert = insert_into(connection, ALERT_CALLS)
            newer = {name: insert.excluded[name] for name in OF_A_LATER_EVENT}
            is_newer = ALERT_CALLS.c.rank < insert.excluded["rank"]
            upsert = insert.on_conflict_do_update(index_elements=CALL_KEYS, set_=newer, where=is_newer)
            connection.execute(upsert, rows)
        return [None] * len(seen)

    def look(self, watch: Watch, holder: str, hearing: Hearing, now: float) -> Round | None:
        """Count what is new, measure the windows, and keep the states after it; None if it is another's to tell."""
        with self._database.writing() as connection:
            if (until := lease.take(connection, LEASE, holder, now)) is None:
                return None
            before = _states(connection)
            windows = [rule for rule in watch.alerts.in_force if rule.measure is not None]
            look = Look(new=_take_new(connection, now), measured=_measure(connection, windows, now))
            after = watch.after(before, look, hearing, now)
            _save(connection, {key: state for key, state in after.items() if state != before.get(key)})
            _forget(connection, before.keys() - after.keys())
        return Round(after, until)

    def told(self, holder: str, key: Key, state: State) -> None:
        """Keep the state after something was told, if it was still ours to tell."""
        with self._database.writing() as connection:
            if lease.holder_of(connection, LEASE) == holder:
                _save(connection, {key: state})

    def examples(self, rule: Rule, account: str, *, matched: bool, since: float, count: int) -> list[Example]:
        """The latest calls of a rule: those that were counted, or of a window those that went out, since an instant."""
        column = ALERT_CALLS.c
        when = column.counted_at >= since if rule.measure is None else column.at > since
        query = select(column.call_id, column.told).where(column.rule == rule.name, column.account == account)
        query = query.where(column.matched.is_(matched), when).order_by(column.at.desc(), column.call_id).limit(count)
        with self._database.reading() as connection:
            return [Example(*row) for row in connection.execute(query)]

    def release(self, holder: str) -> None:
        """Let another process tell."""
        with self._database.writing() as connection:
            lease.give_back(connection, LEASE, holder)

    def prune(self, before: float) -> int:
        """Forget a bounded number of the calls that were heard of before an instant; how many they were."""
        keys = tuple_(*(ALERT_CALLS.c[name] for name in CALL_KEYS))
        some = select(*(ALERT_CALLS.c[name] for name in CALL_KEYS)).where(ALERT_CALLS.c.heard_at < before)
        with self._database.writing() as connection:
            return connection.execute(delete(ALERT_CALLS).where(keys.in_(some.limit(PRUNED_AT_ONCE)))).rowcount


def _call_row(sighting: Sighting, now: float) -> dict[str, Any]:
    row = {name: clean(value) if isinstance(value, str) else value for name, value in asdict(sighting).items()}
    return row | {"heard_at": now, "counted_at": now if row.pop("is_of_window") else None}


def _take_new(connection: Connection, now: float) -> Mapping[Place, int]:
    """How many calls nobody has counted yet, by rule and account; from now on they are."""
    column = ALERT_CALLS.c
    taken = update(ALERT_CALLS).where(column.counted_at.is_(None)).values(counted_at=now)
    rows = connection.execute(taken.returning(column.rule, column.account))
    return Counter((rule, account) for rule, account in rows)


def _measure(connection: Connection, rules: Iterable[Rule], now: float) -> Mapping[Place, Measured]:
    column = ALERT_CALLS.c
    matched = func.sum(case((column.matched, 1), else_=0))
    total = func.sum(case((column.matched, column.value), else_=0.0))
    measured = {}
    for rule in rules:
        query = select(column.account, func.count(), matched, total).group_by(column.account)
        query = query.where(column.rule == rule.name, column.at > now - (rule.window_s or 0))
        for account, calls, fitting, sum_ in connection.execute(query):
            measured[rule.name, account] = Measured(calls, int(fitting), float(sum_))
    return measured


def _states(connection: Connection) -> dict[Key, State]:
    states = {}
    for row in connection.execute(select(ALERTS)).mappings():
        fields = dict(row)
        key = (fields.pop("rule"), fields.pop("account"), fields.pop("target"))
        states[key] = State(**fields)
    return states


def _save(connection: Connection, states: Mapping[Key, State]) -> None:
    if not states:
        return
    rows = [dict(zip(STATE_KEYS, key, strict=True)) | asdict(state) for key, state in states.items()]
    insert = insert_into(connection, ALERTS)
    new = {name: insert.excluded[name] for name in State.__struct_fields__}
    connection.execute(insert.on_conflict_do_update(index_elements=STATE_KEYS, set_=new), rows)


def _forget(connection: Connection, keys: Collection[Key]) -> None:
    for rule, account, target in keys:
        column = ALERTS.c
        gone = (column.rule == rule, column.account == account, column.target == target)
        connection.execute(delete(ALERTS).where(*gone))


def clean(text: str) -> str:
    """`text` as any database takes it: PostgreSQL has no NUL, and neither has half of a surrogate pair."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
