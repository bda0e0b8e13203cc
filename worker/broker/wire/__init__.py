"""The wire beneath aio-pika's connection: what comes and goes with every call takes a short way over it.

aio-pika connects, declares, consumes, cancels and closes, and hears of all that goes wrong. Deliveries,
acknowledgements, publishes and confirms pass it by: its layers were most of what a call cost (docs/performance.md).
"""

from worker.broker.wire.connection import WiredConnection
from worker.broker.wire.inbound import Inbound, Taken
from worker.broker.wire.outbound import Nacked, Outbound, Returned

__all__ = ["Inbound", "Nacked", "Outbound", "Returned", "Taken", "WiredConnection"]
