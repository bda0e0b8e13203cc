"""Bills each completed call: one line per call, in a database of its own.

Run it: aftercall consume billing:billing --queue billing
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

from consumers import EnrichedCall, Reject, Retry, facts_of

TABLE = "CREATE TABLE IF NOT EXISTS lines (call_id TEXT PRIMARY KEY, seconds REAL, cost REAL, version INTEGER)"
LINE = "INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?)"


@asynccontextmanager
async def billing() -> AsyncIterator[Callable[[EnrichedCall], Awaitable[None]]]:
    """What is opened here is there for every call, and closed after the last."""
    # A short timeout: all that runs in this process waits meanwhile, and `Retry` can wait longer.
    with closing(sqlite3.connect(os.environ.get("BILLING_DB", "billing.db"), timeout=0.5)) as database:
        database.execute(TABLE)

        async def handle(call: EnrichedCall) -> None:
            bill(call, database)

        yield handle


def bill(call: EnrichedCall, database: sqlite3.Connection) -> None:
    """Write the line of a call. It comes once per event, and never an older event after a newer one."""
    facts = facts_of(call)
    if facts.cost is None and not call.complete:
        return  # the rest follows as an amendment
    if facts.cost is None:
        raise Reject("a complete call without a cost: nothing to bill")
    try:
        with database:
            database.execute(LINE, (call.call_id, facts.duration_s or 0, facts.cost, call.version))
    except sqlite3.OperationalError as error:
        raise Retry(f"the database is busy: {error}", after=5) from error
