"""Events for a ledger, and its database as one meets it by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from sqlalchemy import create_engine, make_url

from consumers.ledger import Event
from worker.clients.ledger.ledger import Ledger, open_ledger
from worker.clients.ledger.schema import LEDGER
from worker.clients.sql.schema import Migration, migrate
from worker.settings import load

NOW = 1_800_000_000.0
WAITING_S = 1020.0  # AFTERCALL_EMIT_AFTER_S and AFTERCALL_SWEEP_GRACE_S as they are by default


def event(**changes: Any) -> Event:
    call_id = changes.get("call_id", str(uuid4()))
    given = {"account": "default", "call_id": call_id, "kind": "enriched", "at": NOW, "event_id": f"default/{uuid4()}"}
    return Event(**given | changes)


FULL = event(
    source="sweep",
    queue="calls.enrich.default",
    letter_reason="gave-up",
    detail="not final yet: cost missing — “…”",
    tier="6h",
    to="calls.enrich.default",
    attempt=9,
    first_attempt_at=NOW - 3600.123,
    version=2,
    complete=False,
    missing=("cost", "recording"),
    result="completed",
    reason="customer-ended",
    ended_reason="customer-ended-call",
    joined_from="both",
    received_at=NOW - 9,
    ended_at=NOW - 10,
    fetched_at=NOW - 1,
    emitted_at=NOW,
    body_bytes=2**33,
)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(load({"AFTERCALL_LEDGER_URL": url})) as ledger:
        yield ledger


def engine_of(url: str) -> Any:
    given = make_url(url)
    if given.drivername == "postgresql":
        return create_engine(given.set(drivername="postgresql+psycopg"))
    Path(given.database or "").parent.mkdir(parents=True, exist_ok=True)
    return create_engine(given)


def migrated_by_hand(url: str, *steps: Migration) -> None:
    engine = engine_of(url)
    with engine.begin() as connection:
        migrate(connection, replace(LEDGER, migrations=steps))
    engine.dispose()
