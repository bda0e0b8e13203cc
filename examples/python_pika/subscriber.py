"""Bills each completed call, with pika alone: one line per call, in a database of its own.

Run it: AFTERCALL_AMQP_URL=amqp://… python subscriber.py
"""

import gzip
import json
import logging
import os
import sqlite3
import time
import zlib
from datetime import datetime
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

URL = os.environ.get("AFTERCALL_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "calls.billing"
TABLES = """
CREATE TABLE IF NOT EXISTS seen (ce_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS lines (call_id TEXT PRIMARY KEY, seconds REAL, cost REAL, version INTEGER, rank TEXT);
"""
LINE = """
INSERT INTO lines VALUES (?, ?, ?, ?, ?) ON CONFLICT (call_id) DO UPDATE SET
    seconds = excluded.seconds, cost = excluded.cost, version = excluded.version, rank = excluded.rank
WHERE excluded.rank > lines.rank
"""
log = logging.getLogger("billing")


def bill(database: sqlite3.Connection, ce_id: str, call: dict[str, Any]) -> None:
    """Write the line of a call, once per event: the event is seen in the transaction in which its line is written."""
    with database:
        if database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (ce_id,)).rowcount == 0:
            log.info("duplicate %s", ce_id)
            return
        row = (call["callId"], seconds(call["call"]), call["call"].get("cost") or 0, call["version"], rank(call))
        database.execute(LINE, row)
        log.info("billed %s", call["callId"])


def rank(call: dict[str, Any]) -> str:
    """Of several events of one call the greater wins: complete, joined from both sides, fetched last."""
    both = call["provenance"]["source"] == "both"
    return f"{call['complete']:d}{both:d}{call['timeline']['fetchedAt'] or ''}"


def seconds(call: dict[str, Any]) -> float:
    """How long a call was; one that nobody answered has no start."""
    if not call.get("startedAt") or not call.get("endedAt"):
        return 0.0
    return (datetime.fromisoformat(call["endedAt"]) - datetime.fromisoformat(call["startedAt"])).total_seconds()


def on_message(
    channel: BlockingChannel,
    method: Basic.Deliver,
    properties: BasicProperties,
    body: bytes,
    database: sqlite3.Connection,
) -> None:
    """Acknowledge after the work is done; what can never be done goes to calls.billing.dead.

    Any other error ends the connection, and with it the broker has the call again.
    """
    try:
        document = json.loads(gzip.decompress(body) if properties.content_encoding == "gzip" else body)
        bill(database, properties.headers["ce-id"], document)
    except (ValueError, KeyError, TypeError, gzip.BadGzipFile, zlib.error, EOFError):
        log.exception("cannot be billed")
        channel.basic_reject(method.delivery_tag, requeue=False)
    else:
        channel.basic_ack(method.delivery_tag)


def consume(database: sqlite3.Connection) -> None:
    """Take calls until the connection goes."""
    with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, passive=True)  # Aftercall declares it; this only sees whether it is there
        channel.basic_qos(prefetch_count=20)
        channel.basic_consume(QUEUE, lambda *given: on_message(*given, database))
        log.info("waiting for calls")
        channel.start_consuming()


def main() -> None:
    """Take calls for ever: connect again whenever the connection goes, or the queue is not there yet."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    database = sqlite3.connect(os.environ.get("BILLING_DB", "billing.db"))
    database.executescript(TABLES)
    while True:
        try:
            consume(database)
        except (pika.exceptions.AMQPError, sqlite3.OperationalError) as error:
            log.warning("connecting again: %r", error)
            time.sleep(1)


if __name__ == "__main__":
    main()
