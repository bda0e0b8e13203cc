"""The inbox's table: which events of a call a subscriber has acted upon, and who is at it now."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, select, text, tuple_

from consumers.inbox import LEASE_S, Arrival, Claim, Ended
from worker.clients.ledger.schema import INBOX
from worker.clients.sql.database import insert_into

LOCK: Final = 0x696E626F78  # any number, always the same
KEYS: Final = ("subscriber", "account", "call_id")
ASKED_AT_ONCE: Final = 300
PRUNED_AT_ONCE: Final = 1000

Key = tuple[str, str, str]
Row = dict[str, Any]


def claim(connection: Connection, asked: Sequence[tuple[Arrival, float]]) -> list[Claim]:
    """Lease the calls of the events that are to be acted upon; the second of a call within one batch finds it taken."""
    _lock(connection)
    rows = _rows(connection, {_key(event) for event, _ in asked})
    claims = []
    for event, now in asked:
        row = rows.setdefault(_key(event), _new(event))
        claims.append(_judge(row, event, now))
        if claims[-1].verdict == "granted":
            row |= {"leased_for": event.id, "leased_until": now + LEASE_S, "at": now, "changed": True}
    _write(connection, rows.values())
    return claims


def end(connection: Connection, ended: Sequence[Ended]) -> None:
    """End leases: the events with a memo were acted upon."""
    _lock(connection)
    rows = _rows(connection, {_key(each.event) for each in ended})
    for each in ended:
        row = rows.setdefault(_key(each.event), _new(each.event))
        if row["leased_for"] == each.event.id:
            row |= {"leased_for": "", "leased_until": 0.0}
        if each.memo is not None:
            row |= _acted(row, each.event, each.memo)
        row["changed"] = True
    _write(connection, rows.values())


def prune(connection: Connection, before: float) -> int:
    """Forget a bounded number of the calls that nothing was done about since an instant; how many they were."""
    keys = tuple_(*(INBOX.c[name] for name in KEYS))
    oldest = select(*(INBOX.c[name] for name in KEYS)).where(INBOX.c.at < before).limit(PRUNED_AT_ONCE)
    return connection.execute(delete(INBOX).where(keys.in_(oldest))).rowcount


def _judge(row: Row, event: Arrival, now: float) -> Claim:
    if event.id in row["done"].split():
        return Claim("duplicate")
    if now < row["leased_until"] <= now + 2 * LEASE_S:  # one that lasts longer was taken before the clock went back
        return Claim("taken", until=row["leased_until"])
    if event.rank < row["rank"]:
        return Claim("superseded")
    return Claim("granted", row["memo"])


def _acted(row: Row, event: Arrival, memo: str) -> Row:
    done = " ".join((*row["done"].split(), event.id))
    return {"done": done, "rank": max(row["rank"], event.rank), "memo": memo}


def _lock(connection: Connection) -> None:
    # A row that is not there yet cannot be locked; SQLite is locked by the transaction itself.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def _rows(connection: Connection, keys: set[Key]) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    wanted = sorted(keys)
    columns = tuple_(*(INBOX.c[name] for name in KEYS))
    for start in range(0, len(wanted), ASKED_AT_ONCE):
        query = select(INBOX).where(columns.in_(wanted[start : start + ASKED_AT_ONCE]))
        for row in connection.execute(query).mappings():
            found[row["subscriber"], row["account"], row["call_id"]] = dict(row)
    return found


def _write(connection: Connection, rows: Iterable[Row]) -> None:
    changed = [{name: row[name] for name in INBOX.c.keys()} for row in rows if row.pop("changed", False)]  # noqa: SIM118
    if not changed:
        return
    insert = insert_into(connection, INBOX)
    new = {name: insert.excluded[name] for name in INBOX.c.keys() if name not in KEYS}  # noqa: SIM118
    connection.execute(insert.on_conflict_do_update(index_elements=KEYS, set_=new), changed)


def _key(event: Arrival) -> Key:
    return event.subscriber, event.account, event.call_id


def _new(event: Arrival) -> Row:
    empty = dict.fromkeys(("rank", "done", "memo", "leased_for"), "")
    return {**dict(zip(KEYS, _key(event), strict=True)), **empty, "leased_until": 0.0, "at": 0.0}
