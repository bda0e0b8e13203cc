"""The broker of the comparison as seen from beside it: virtual hosts, queues and their depths."""

import time
from typing import Final

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from yarl import URL

from bench.compare.contestants import Contestant
from worker.simulate.rabbitmq import PrivateNode

LOOK_EVERY_S: Final = 0.05


async def host_of(node: PrivateNode, contestant: Contestant) -> str:
    """The URL of a virtual host of a contestant's own."""
    await node.ctl("add_vhost", contestant.name)
    await node.ctl("set_permissions", "--vhost", contestant.name, URL(node.url).user or "", ".*", ".*", ".*")
    return str(URL(node.url).with_path(f"/{contestant.name}"))


class Queues:
    """A contestant's two queues."""

    def __init__(self, amqp_url: str, contestant: Contestant) -> None:
        self.amqp_url = amqp_url
        self.calls, self.enriched = contestant.calls, contestant.enriched
        self._connection = pika.BlockingConnection(pika.URLParameters(f"{amqp_url}?heartbeat=0"))
        self._channel: BlockingChannel = self._connection.channel()

    def depth(self, queue: str) -> int:
        """The messages that wait there; 0 for a queue that is not there."""
        return self._look(queue)[0]

    def is_consumed(self) -> bool:
        """Whether a worker consumes the calls."""
        return self._look(self.calls)[1] > 0

    def empty(self) -> None:
        """Take away what an earlier measurement left, also what goes back to a queue only now."""
        for queue in (self.calls, self.enriched):
            while self.depth(queue) or self._is_busy(queue):
                self._channel.queue_purge(queue)

    def fill(self, count: int) -> None:
        """Make the one message that waits into so many."""
        method, properties, body = self._channel.basic_get(self.calls, auto_ack=True)
        if method is None or body is None:
            raise LookupError(f"nothing waits in {self.calls}")
        for _ in range(count):
            self._channel.basic_publish(method.exchange, method.routing_key, body, properties)
        while self.depth(self.calls) < count:
            time.sleep(LOOK_EVERY_S)

    def close(self) -> None:
        self._connection.close()

    def _is_busy(self, queue: str) -> bool:
        return self._look(queue)[1] > 0

    def _look(self, queue: str) -> tuple[int, int]:
        """How many messages wait there, and how many consumers."""
        try:
            found = self._channel.queue_declare(queue, passive=True).method
        except ChannelClosedByBroker:
            self._channel = self._connection.channel()
            return 0, 0
        return found.message_count, found.consumer_count
