"""A spool that is open for a while, what to keep in it, and what lies in its folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from consumers.messages import Message
from worker.ingress.spool.writer import Spool

PLENTY = 2**30


def message(body: bytes = b"{}", **changes: Any) -> Message:
    defaults = {"exchange": "calls", "routing_key": "call.ended.default", "type": "call.ended", "call_id": "call-1"}
    return Message(**defaults | changes, body=body)


@asynccontextmanager
async def opened(folder: Path, max_bytes: int = PLENTY, **changes: Any) -> AsyncIterator[Spool]:
    spool = Spool(folder, max_bytes, **changes)
    await spool.open()
    try:
        yield spool
    finally:
        await spool.close()


async def bodies(spool: Spool, count: int = 1000, **changes: Any) -> list[bytes]:
    return [record.message.body for record in await spool.oldest(count, **changes)]


def files(folder: Path, pattern: str = "*.db") -> list[Path]:
    return sorted(folder.glob(pattern))
