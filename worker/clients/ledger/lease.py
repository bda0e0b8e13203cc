"""Leases: what one process of several does, by a row that it has for some time. A dead one's runs out by itself."""

from typing import Final

from sqlalchemy import Connection, delete, or_, select

from worker.clients.ledger.schema import LEASES
from worker.clients.sql.database import insert_into

LEASE_S: Final = 30.0
"""How long a process that died keeps the others from it."""


def take(connection: Connection, name: str, holder: str, now: float) -> float | None:
    """Until when the lease is the holder's, taken or renewed if need be; None if another process has it."""
    found = connection.execute(select(LEASES.c.holder, LEASES.c.until).where(LEASES.c.name == name)).first()
    if found is not None and found.holder == holder and found.until - now > LEASE_S / 2:
        return float(found.until)
    insert = insert_into(connection, LEASES).values(name=name, holder=holder, until=now + LEASE_S)
    # One that lasts too long was taken before the clock went back.
    is_free = or_(LEASES.c.holder == holder, LEASES.c.until < now, LEASES.c.until > now + 2 * LEASE_S)
    new = {column: insert.excluded[column] for column in ("holder", "until")}
    taking = insert.on_conflict_do_update(index_elements=["name"], set_=new, where=is_free)
    return connection.execute(taking.returning(LEASES.c.until)).scalar()


def holder_of(connection: Connection, name: str) -> str | None:
    """Who has the lease; in PostgreSQL nobody takes it before the end of the transaction."""
    return connection.execute(select(LEASES.c.holder).where(LEASES.c.name == name).with_for_update()).scalar()


def give_back(connection: Connection, name: str, holder: str) -> None:
    """Let another process have the lease, if it is the holder's."""
    connection.execute(delete(LEASES).where(LEASES.c.name == name, LEASES.c.holder == holder))
