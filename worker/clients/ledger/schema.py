"""The ledger's tables, and the numbered steps that lead to them from any earlier version."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
)

from worker.clients.sql.schema import Migration, Schema

METADATA: Final = MetaData()
EVENTS: Final = Table(
    "aftercall_events",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("at", Double, nullable=False),
    *(
        Column(name, Text, nullable=False)
        for name in ("source", "queue", "letter_reason", "detail", "tier", "to", "missing")
    ),
    Column("attempt", Integer, nullable=False),
    Column("first_attempt_at", Double),
    Column("version", Integer, nullable=False),
    Column("complete", Boolean),
    *(Column(name, Text, nullable=False) for name in ("result", "reason", "ended_reason", "joined_from")),
    *(Column(name, Double) for name in ("received_at", "ended_at", "fetched_at", "emitted_at")),
    Column("body_bytes", BigInteger, nullable=False),
)
WATERMARKS: Final = Table(
    "aftercall_watermarks",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("at", Double, nullable=False),
)
INBOX: Final = Table(
    "aftercall_inbox",
    METADATA,
    *(Column(name, Text, primary_key=True) for name in ("subscriber", "account", "call_id")),
    *(Column(name, Text, nullable=False) for name in ("rank", "done", "memo", "leased_for")),
    *(Column(name, Double, nullable=False) for name in ("leased_until", "at")),
)

ALERT_CALLS: Final = Table(
    "aftercall_alert_calls",
    METADATA,
    *(Column(name, Text, primary_key=True) for name in ("rule", "account", "call_id")),
    *(Column(name, Text, nullable=False) for name in ("rank", "told")),
    Column("at", Double, nullable=False),
    Column("heard_at", Double, nullable=False),
    Column("matched", Boolean, nullable=False),
    Column("value", Double, nullable=False),
    Column("counted_at", Double),
)
ALERTS: Final = Table(
    "aftercall_alerts",
    METADATA,
    *(Column(name, Text, primary_key=True) for name in ("rule", "account", "target")),
    Column("watched_since", Double, nullable=False),
    Column("since", Double),
    Column("last_at", Double, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("value", Double),
    Column("calls", BigInteger, nullable=False),
    Column("told_at", Double),
    Column("told_count", BigInteger, nullable=False),
)
LEASES: Final = Table(
    "aftercall_leases",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Double, nullable=False),
)

# A step that was released is never changed: another one follows it. Instants are seconds since the epoch.
MIGRATIONS: Final[Sequence[Migration]] = (
    (
        """CREATE TABLE aftercall_events (
            id {identity}, event_id TEXT NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL, call_id TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL, source TEXT NOT NULL, queue TEXT NOT NULL, letter_reason TEXT NOT NULL,
            detail TEXT NOT NULL, tier TEXT NOT NULL, "to" TEXT NOT NULL, missing TEXT NOT NULL,
            attempt INTEGER NOT NULL, first_attempt_at DOUBLE PRECISION, version INTEGER NOT NULL, complete BOOLEAN,
            result TEXT NOT NULL, reason TEXT NOT NULL, ended_reason TEXT NOT NULL, joined_from TEXT NOT NULL,
            received_at DOUBLE PRECISION, ended_at DOUBLE PRECISION, fetched_at DOUBLE PRECISION,
            emitted_at DOUBLE PRECISION, body_bytes BIGINT NOT NULL, UNIQUE (event_id, kind))""",
        "CREATE INDEX aftercall_events_of_call ON aftercall_events (call_id, account, kind, at)",
        "CREATE INDEX aftercall_events_by_time ON aftercall_events (at)",
    ),
    ("CREATE TABLE aftercall_watermarks (account TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL)",),
    (
        """CREATE TABLE aftercall_inbox (
            subscriber TEXT NOT NULL, account TEXT NOT NULL, call_id TEXT NOT NULL, rank TEXT NOT NULL,
            done TEXT NOT NULL, memo TEXT NOT NULL, leased_for TEXT NOT NULL, leased_until DOUBLE PRECISION NOT NULL,
            at DOUBLE PRECISION NOT NULL, PRIMARY KEY (subscriber, account, call_id))""",
        "CREATE INDEX aftercall_inbox_by_time ON aftercall_inbox (at)",
    ),
    (
        """CREATE TABLE aftercall_alert_calls (
            rule TEXT NOT NULL, account TEXT NOT NULL, call_id TEXT NOT NULL, rank TEXT NOT NULL, told TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL, heard_at DOUBLE PRECISION NOT NULL, matched BOOLEAN NOT NULL,
            value DOUBLE PRECISION NOT NULL, counted_at DOUBLE PRECISION, PRIMARY KEY (rule, account, call_id))""",
        "CREATE INDEX aftercall_alert_calls_of_window ON aftercall_alert_calls (rule, at, account, matched, value)",
        "CREATE INDEX aftercall_alert_calls_new ON aftercall_alert_calls (rule, account) WHERE counted_at IS NULL",
        "CREATE INDEX aftercall_alert_calls_by_time ON aftercall_alert_calls (heard_at)",
        """CREATE TABLE aftercall_alerts (
            rule TEXT NOT NULL, account TEXT NOT NULL, target TEXT NOT NULL, watched_since DOUBLE PRECISION NOT NULL,
            since DOUBLE PRECISION, last_at DOUBLE PRECISION NOT NULL, count BIGINT NOT NULL, value DOUBLE PRECISION,
            calls BIGINT NOT NULL, told_at DOUBLE PRECISION, told_count BIGINT NOT NULL,
            PRIMARY KEY (rule, account, target))""",
        """CREATE TABLE aftercall_leases (
            name TEXT PRIMARY KEY, holder TEXT NOT NULL, until DOUBLE PRECISION NOT NULL)""",
    ),
)
LEDGER: Final = Schema("ledger", "AFTERCALL_LEDGER_URL", "aftercall_schema", MIGRATIONS)
