"""The parts of `forward`: a client for each target, and the consumer that posts every call to those that want it."""

import asyncio
from collections.abc import Mapping
from functools import partial

from consumers.enriched import read_enriched
from consumers.forward import conclude, refused_before
from consumers.inbox import Arrival, Inbox, arrival_of, once
from consumers.messages import Delivery, Message, unpack
from consumers.targets import Target, bodies_of
from worker.broker.topology import subscriber_queue
from worker.cli.running.process import Process
from worker.clients.target.target import TargetClient, open_target
from worker.operate.telemetry import DUPLICATES
from worker.settings.credentials import credentials_of


async def start_forward(process: Process) -> None:
    """Post each call to its targets."""
    settings = process.settings
    at_once = max(1, settings.prefetch // len(settings.forward))  # so that no one target takes all that is in hand
    clients = {
        name: await process.stack.enter_async_context(
            open_target(name, target, partial(credentials_of, settings.forward_secrets, name), at_once=at_once)
        )
        for name, target in settings.forward.items()
    }
    forward = Forward(settings.forward, clients, await process.ledger())
    process.consume(subscriber_queue("forward"), forward.handle)


class Forward:
    """Handles the deliveries: each call once to each of its targets, to all at the same time."""

    def __init__(self, targets: Mapping[str, Target], clients: Mapping[str, TargetClient], inbox: Inbox) -> None:
        self._targets = targets
        self._clients = clients
        self._inbox = inbox

    async def handle(self, delivery: Delivery, now: float) -> tuple[Message, ...]:
        """Post a call to its targets; what `conclude` makes of their answers is raised."""
        call = read_enriched(delivery)
        before = refused_before(delivery, now)
        bodies = bodies_of(call, unpack(delivery), self._targets)
        posts = {
            name: self._post(arrival_of(f"forward/{name}", call, delivery), name, body, now)
            for name, body in bodies.items()
            if name not in before
        }
        said = await asyncio.gather(*posts.values(), return_exceptions=True)
        refused = {name: reason for name, reason in before.items() if name in bodies}
        if (trouble := conclude(dict(zip(posts, said, strict=True)), refused)) is not None:
            raise trouble
        return ()

    async def _post(self, arrival: Arrival, name: str, body: bytes, now: float) -> None:
        async def act(memo: str) -> str:
            await self._clients[name].post(arrival.id, body)
            return memo

        claim = await once(arrival, act, inbox=self._inbox, now=now)
        if claim.verdict != "granted":
            DUPLICATES.labels(subscriber_queue("forward"), claim.verdict).inc()
