"""The archive's table, the index of its words, and the numbered steps that lead to them from any earlier version."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Dialect, Double, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.types import TypeDecorator, TypeEngine

from consumers.timestamps import iso
from worker.clients.sql.schema import Migration, Schema


class Moment(TypeDecorator[str]):
    """An instant, ISO 8601 for us: a `timestamptz` in PostgreSQL, and text in SQLite, which has no type for it."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's own type."""
        return dialect.type_descriptor(DateTime(timezone=True) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """The value as the database's driver takes it."""
        return value if value is None or dialect.name == "sqlite" else datetime.fromisoformat(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """The value as we have it."""
        return value if value is None or dialect.name == "sqlite" else iso(value.timestamp())


# The long ones stand last: a reader of the others need not pass them.
CALLS: Final = Table(
    "aftercall_calls",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    *(Column(name, Text) for name in ("account", "call_id", "event_id", "rank")),
    Column("version", BigInteger),
    Column("complete", Boolean),
    *(Column(name, Text) for name in ("missing", "result", "reason", "ended_reason", "joined_from", "type")),
    *(Column(name, Text) for name in ("direction", "assistant_id", "squad_id", "phone_number_id", "customer_id")),
    *(Column(name, Text) for name in ("our_number", "customer_number", "customer_name", "customer_email")),
    Column("customer_external_id", Text),
    *(Column(name, Moment) for name in ("started_at", "ended_at", "received_at", "fetched_at", "emitted_at")),
    Column("archived_at", Moment),
    *(Column(name, Double) for name in ("duration_s", "cost", "cost_transport", "cost_stt", "cost_llm", "cost_tts")),
    *(Column(name, Double) for name in ("cost_vapi", "assistant_talk_s", "customer_talk_s")),
    *(Column(name, BigInteger) for name in ("assistant_words", "customer_words")),
    *(Column(name, BigInteger) for name in ("assistant_interrupted", "customer_interrupted")),
    *(Column(name, Double) for name in ("turn_latency_ms", "turn_latency_p95_ms")),
    *(Column(name, Text) for name in ("success_evaluation", "recording_url", "structured_data", "structured_outputs")),
    *(Column(name, Text) for name in ("summary", "transcript")),
    Column("body", LargeBinary),
    Column("words", TSVECTOR),  # PostgreSQL alone has it, and only to search by
)
INDEX_OF_WORDS: Final = Table("aftercall_calls_words", MetaData(), Column("rowid", BigInteger, primary_key=True))

_CREATE_CALLS: Final = """CREATE TABLE aftercall_calls (
    id {identity}, account TEXT NOT NULL, call_id TEXT NOT NULL, event_id TEXT NOT NULL, rank TEXT NOT NULL {bytewise},
    version BIGINT NOT NULL, complete BOOLEAN NOT NULL, missing TEXT NOT NULL, result TEXT NOT NULL,
    reason TEXT NOT NULL, ended_reason TEXT, joined_from TEXT NOT NULL, type TEXT, direction TEXT, assistant_id TEXT,
    squad_id TEXT, phone_number_id TEXT, customer_id TEXT, our_number TEXT, customer_number TEXT, customer_name TEXT,
    customer_email TEXT, customer_external_id TEXT, started_at {moment}, ended_at {moment} NOT NULL,
    received_at {moment}, fetched_at {moment}, emitted_at {moment}, archived_at {moment} NOT NULL,
    duration_s DOUBLE PRECISION, cost DOUBLE PRECISION, cost_transport DOUBLE PRECISION, cost_stt DOUBLE PRECISION,
    cost_llm DOUBLE PRECISION, cost_tts DOUBLE PRECISION, cost_vapi DOUBLE PRECISION,
    assistant_talk_s DOUBLE PRECISION, customer_talk_s DOUBLE PRECISION, assistant_words BIGINT, customer_words BIGINT,
    assistant_interrupted BIGINT, customer_interrupted BIGINT, turn_latency_ms DOUBLE PRECISION,
    turn_latency_p95_ms DOUBLE PRECISION, success_evaluation TEXT, recording_url TEXT, structured_data TEXT,
    structured_outputs TEXT, summary TEXT, transcript TEXT, body {bytes} NOT NULL{words}, UNIQUE (call_id, account))"""
_TYPES: Final = {
    "sqlite": {"moment": "TEXT", "bytes": "BLOB", "bytewise": "", "words": ""},
    "postgresql": {
        "moment": "TIMESTAMPTZ",
        "bytes": "BYTEA",
        "bytewise": 'COLLATE "C"',
        "words": ", words TSVECTOR NOT NULL",
    },
}


def _create_calls(dialect: str) -> str:
    types = {"identity": "{identity}"} | _TYPES[dialect]
    return f"{dialect}:{_CREATE_CALLS.format(**types)}"


# A step that was released is never changed: another one follows it.
MIGRATIONS: Final[Sequence[Migration]] = (
    (
        _create_calls("sqlite"),
        _create_calls("postgresql"),
        "CREATE INDEX aftercall_calls_by_time ON aftercall_calls (ended_at, id)",
        "CREATE INDEX aftercall_calls_of_account ON aftercall_calls (account, ended_at, id)",
        "CREATE INDEX aftercall_calls_by_result ON aftercall_calls (result, ended_at, id)",
        "CREATE INDEX aftercall_calls_of_assistant ON aftercall_calls (assistant_id, ended_at, id)",
        "CREATE INDEX aftercall_calls_of_customer ON aftercall_calls (customer_number)",
        "CREATE INDEX aftercall_calls_of_number ON aftercall_calls (our_number)",
        # SQLite: an index beside the table, without a copy of the texts, which triggers keep in step with it
        # (https://www.sqlite.org/fts5.html#external_content_tables).
        """sqlite:CREATE VIRTUAL TABLE aftercall_calls_words USING fts5 (summary, transcript,
            content='aftercall_calls', content_rowid='id', tokenize='unicode61 remove_diacritics 2')""",
        """sqlite:CREATE TRIGGER aftercall_calls_inserted AFTER INSERT ON aftercall_calls BEGIN
            INSERT INTO aftercall_calls_words (rowid, summary, transcript)
            VALUES (new.id, new.summary, new.transcript); END""",
        """sqlite:CREATE TRIGGER aftercall_calls_deleted AFTER DELETE ON aftercall_calls BEGIN
            INSERT INTO aftercall_calls_words (aftercall_calls_words, rowid, summary, transcript)
            VALUES ('delete', old.id, old.summary, old.transcript); END""",
        """sqlite:CREATE TRIGGER aftercall_calls_updated AFTER UPDATE ON aftercall_calls BEGIN
            INSERT INTO aftercall_calls_words (aftercall_calls_words, rowid, summary, transcript)
            VALUES ('delete', old.id, old.summary, old.transcript);
            INSERT INTO aftercall_calls_words (rowid, summary, transcript)
            VALUES (new.id, new.summary, new.transcript); END""",
        # It is gzipped already, and to try it again would cost time.
        "postgresql:ALTER TABLE aftercall_calls ALTER COLUMN body SET STORAGE EXTERNAL",
        # PostgreSQL: a text of more than 1 MiB of different words cannot be indexed whole; its beginning is then.
        """postgresql:CREATE FUNCTION aftercall_words(said text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE AS $$
            BEGIN
                RETURN to_tsvector('pg_catalog.simple', said);
            EXCEPTION WHEN program_limit_exceeded THEN
                RETURN to_tsvector('pg_catalog.simple', left(said, 100000));
            END $$""",
        "postgresql:CREATE INDEX aftercall_calls_words ON aftercall_calls USING GIN (words)",
    ),
)
ARCHIVE: Final = Schema("archive", "AFTERCALL_ARCHIVE_URL", "aftercall_archive_schema", MIGRATIONS)
