"""A subscriber as anybody may write one: it reads its queue, and drops what comes again under an old `ce-id`."""

import hashlib
import json
from collections import defaultdict
from contextlib import suppress
from typing import Any, Final

import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from consumers.messages import unpack
from consumers.tolerant_json import parse
from worker.broker.deliver import read
from worker.broker.session import Session
from worker.broker.topology import subscriber_queue
from worker.settings import Secret

PREFETCH: Final = 50


class Seen(msgspec.Struct):
    """What a subscriber has seen of one call: its events by `ce-id`, and by what is in them."""

    events: set[str] = set()
    contents: defaultdict[str, set[str]] = msgspec.field(default_factory=lambda: defaultdict(set))
    is_complete: bool = False
    amended: int = 0
    attempts_max: int = 0

    @property
    def is_disguised(self) -> bool:
        """Whether one content came under several ids: a duplicate that no subscriber could tell."""
        return any(len(ids) > 1 for ids in self.contents.values())


class Subscriber:
    """Reads the queue of one subscriber while it is run, over any loss of its connection."""

    def __init__(self, url: str, name: str) -> None:
        self.session = Session(Secret(url), name=name, set_up=self._start)
        self._queue = subscriber_queue(name)
        self.calls: dict[str, Seen] = {}
        self.duplicates = 0

    async def _start(self, _connection: AbstractConnection, channel: AbstractChannel) -> None:
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(self._queue, ensure=True)
        await queue.consume(self._take)

    async def _take(self, incoming: AbstractIncomingMessage) -> None:
        self.see(str(incoming.headers.get("ce-id")), unpack(read(incoming, self._queue)))
        with suppress(AMQPError, ChannelInvalidStateError, OSError):  # then it comes again
            await incoming.ack()

    def see(self, event_id: str, body: bytes) -> None:
        """Take in one event."""
        enriched = parse(body)
        seen = self.calls.setdefault(enriched["callId"], Seen())
        self.duplicates += event_id in seen.events
        seen.amended += event_id not in seen.events and enriched["version"] > 1
        seen.events.add(event_id)
        seen.contents[_digest(enriched)].add(event_id)
        seen.is_complete |= enriched["complete"]
        seen.attempts_max = max(seen.attempts_max, enriched["timeline"]["attempts"])


def _digest(enriched: dict[str, Any]) -> str:
    """What an event says of its call, and not when and how it was found out."""
    content = {key: value for key, value in enriched.items() if key not in ("version", "timeline")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
