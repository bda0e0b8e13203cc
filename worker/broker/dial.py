"""Connecting to a broker: one attempt, its TLS included."""

import asyncio
from typing import Final

import aio_pika
from aio_pika import Connection
from aio_pika.abc import AbstractConnection
from yarl import URL

from worker.clients.tls import context_of
from worker.settings.tls import TLS_SCHEMES, tls_files_of

HEARTBEAT_S: Final = 12
PORTS: Final = {"amqp": 5672, "amqps": 5671}


async def dial(url: str, name: str, kind: type[Connection] = Connection) -> AbstractConnection:
    """A connection that the broker's page of connections shows as `name`; limit its time.

    The files of TLS are read anew each time, so that the next connection has what replaced them. Raises
    `TlsFileUnusable` and what aio-pika raises.
    """
    parsed = URL(url)
    context = await asyncio.to_thread(context_of, tls_files_of(url)) if parsed.scheme in TLS_SCHEMES else None
    return await aio_pika.connect(
        parsed.with_query({"heartbeat": str(HEARTBEAT_S), **parsed.query}),
        client_properties={"connection_name": f"aftercall {name}"},
        connection_class=kind,
        ssl_context=context,
    )


def where(url: str) -> str:
    """The broker of a URL, without the password."""
    parsed = URL(url)
    return f"{parsed.host}:{parsed.port or PORTS.get(parsed.scheme, PORTS['amqp'])}{parsed.path}"
