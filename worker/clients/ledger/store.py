"""What is asked of the ledger's tables, one method a question and a transaction. For the ledger's thread only."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import asdict
from sqlalchemy import Connection, Row, delete, func, select

from consumers.inbox import Arrival, Claim, Ended
from consumers.ledger import ON_ITS_WAY, SETTLED, Event, Kind
from worker.clients.ledger import inbox
from worker.clients.ledger.schema import EVENTS, LEDGER, WATERMARKS
from worker.clients.sql.database import insert_into
from worker.clients.sql.store import SqlStore

ASKED_AT_ONCE: Final = 500
PRUNED_AT_ONCE: Final = 1000


class Store(SqlStore):
    """The ledger in the database of a URL. Raises `DatabaseAway` and `SettingsError`, as `Database` does."""

    def __init__(self, url: Callable[[], str]) -> None:
        super().__init__(url, LEDGER)

    def record(self, events: Sequence[Event]) -> list[Exception | None]:
        """Write the events in one transaction; what became of each, None for well."""
        return self._write_each(_insert_events, events)

    def latest(self, account: str, call_ids: Sequence[str]) -> list[tuple[str, Kind, float]]:
        """The instant of the latest event of each kind that accounts for one of the calls."""
        column = EVENTS.c
        found: list[tuple[str, Kind, float]] = []
        with self._database.reading() as connection:
            for start in range(0, len(call_ids), ASKED_AT_ONCE):
                asked = column.call_id.in_(call_ids[start : start + ASKED_AT_ONCE])
                counts = column.kind.in_(SETTLED | ON_ITS_WAY)
                query = select(column.call_id, column.kind, func.max(column.at)).where(asked, counts)
                of_each = query.where(column.account == account).group_by(column.call_id, column.kind)
                found.extend((call_id, kind, at) for call_id, kind, at in connection.execute(of_each))
        return found

    def story(self, call_id: str) -> list[Event]:
        """The events of a call by time; those of one instant in the order in which they were written."""
        query = select(EVENTS).where(EVENTS.c.call_id == call_id).order_by(EVENTS.c.at, EVENTS.c.id)
        with self._database.reading() as connection:
            return [_event(row) for row in connection.execute(query)]

    def wrote(self, event_id: str) -> bool:
        """Whether an event of that id is there."""
        query = select(EVENTS.c.id).where(EVENTS.c.event_id == event_id).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def counts(self, since: float) -> dict[tuple[str, str], int]:
        """How many events there are of each account and kind since an instant."""
        column = EVENTS.c
        query = select(column.account, column.kind, func.count()).where(column.at >= since)
        with self._database.reading() as connection:
            rows = connection.execute(query.group_by(column.account, column.kind)).all()
        return {(account, kind): count for account, kind, count in rows}

    def prune(self, before: float) -> int:
        """Delete the oldest events before an instant, a bounded number of them; how many they were."""
        some = select(EVENTS.c.id).where(EVENTS.c.at < before).order_by(EVENTS.c.at).limit(PRUNED_AT_ONCE)
        oldest = some.with_for_update(skip_locked=True)  # PostgreSQL: another process may be at it too
        with self._database.writing() as connection:
            forgotten = inbox.prune(connection, before)
            return forgotten + connection.execute(delete(EVENTS).where(EVENTS.c.id.in_(oldest))).rowcount

    def claim(self, asked: Sequence[tuple[Arrival, float]]) -> list[Claim]:
        """Lease the calls of events that are to be acted upon."""
        with self._database.writing() as connection:
            return inbox.claim(connection, asked)

    def end(self, ended: Sequence[Ended]) -> list[None]:
        """End leases."""
        with self._database.writing() as connection:
            inbox.end(connection, ended)
        return [None] * len(ended)

    def watermark(self, account: str) -> float | None:
        """The account's watermark."""
        with self._database.reading() as connection:
            return connection.execute(select(WATERMARKS.c.at).where(WATERMARKS.c.account == account)).scalar()

    def set_watermark(self, account: str, at: float) -> None:
        """Move the account's watermark forward, or leave it."""
        with self._database.writing() as connection:
            insert = insert_into(connection, WATERMARKS).values(account=account, at=at)
            ahead = WATERMARKS.c.at < insert.excluded.at
            connection.execute(
                insert.on_conflict_do_update(index_elements=["account"], set_={"at": insert.excluded.at}, where=ahead)
            )


def _insert_events(connection: Connection, events: Sequence[Event]) -> None:
    """In one order in every process: two that write some of the same events would else wait for each other."""
    rows = sorted(map(_row, events), key=lambda row: (row["event_id"], row["kind"]))
    insert = insert_into(connection, EVENTS).on_conflict_do_nothing(index_elements=["event_id", "kind"])
    connection.execute(insert, rows)


def _row(event: Event) -> dict[str, Any]:
    return asdict(event) | {"missing": ",".join(event.missing)}


def _event(row: Row[Any]) -> Event:
    fields = dict(row._mapping)  # noqa: SLF001  # a public name, whatever it begins with
    del fields["id"]
    return Event(**fields | {"missing": tuple(filter(None, fields["missing"].split(",")))})
