"""Everything on this machine: a broker, a simulated Vapi, the endpoint, the enricher, and calls travelling through."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import orjson
from aio_pika.abc import AbstractChannel

from consumers.messages import RETRY, unpack
from worker.broker.deliver import read
from worker.broker.topology import Topology, dead_queue, subscriber_queue, topology_of
from worker.broker.watch import depths, opened, watch
from worker.settings import Settings, load
from worker.simulate.processes import Role
from worker.simulate.rabbitmq import find_broker, free_ports
from worker.simulate.send import send
from worker.simulate.tally import Letter, Tally, letter_of

CALLS: Final = 60
RATE: Final = 5.0
FAULTS: Final = "everything=0.06,late=0.15,dropped=0,gone=0.03"
LIMIT_S: Final = 75.0
LOOK_EVERY_S: Final = 0.5
SECRET: Final = "demo-secret"  # noqa: S105  # of a demo
# What Vapi would never send, so that there is something dead to look at.
BROKEN: Final = (
    ("a report without a call id", b'{"message":{"type":"end-of-call-report","endedReason":"customer-ended-call"}}'),
    ("a report cut off", b'{"message":{"type":"end-of-call-report","call":{"id":"01a0'),
)
TIMES: Final = {
    "AFTERCALL_EMIT_AFTER_S": "3",
    "AFTERCALL_GIVE_UP_AFTER_S": "20",
    "AFTERCALL_RETRY_TIERS_S": "1,2,4,8",
    "AFTERCALL_VAPI_RATE": "100",
}


class Picture(msgspec.Struct, frozen=True):
    """One look at the demo: what ended, what passed, and what lies in which queue."""

    ended: int
    tally: Tally
    depths: Mapping[str, int]

    @property
    def waiting(self) -> int:
        """The notifications that wait in tiers for another attempt."""
        return sum(depth for queue, depth in self.depths.items() if queue.startswith(RETRY))


class Account(msgspec.Struct, frozen=True):
    """How it ended: each call that ended is enriched or dead, or missing."""

    ended: int
    tally: Tally
    letters: list[Letter]
    missing: list[str]
    broken: int

    @property
    def adds_up(self) -> bool:
        """Whether every call and every broken report is accounted for."""
        unidentified = sum(not letter.call_id for letter in self.letters)
        return not self.missing and unidentified >= self.broken


class Demo:
    """A demo that runs: its parts' addresses, and what was seen so far."""

    def __init__(self, settings: Settings, channel: AbstractChannel, vapi_url: str, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.vapi_url = vapi_url
        self.tally = Tally()
        self._channel = channel
        self._topology: Topology = topology_of(settings)
        self._began_at = time.time()

    async def look_on(self) -> None:
        """See each message that passes, until cancelled."""
        async for message in watch(self._channel, ("call.#",)):
            key, call_id = message.routing_key or "", message.correlation_id or ""
            enriched = key.startswith(("call.enriched.", "call.amended."))
            is_complete = enriched and orjson.loads(unpack(read(message, "")))["complete"]
            self.tally.see(key, message.headers, call_id, is_complete=is_complete)

    async def picture(self) -> Picture:
        """How things stand now."""
        queues = tuple(queue.name for queue in self._topology.queues)
        return Picture(len(await self._ended()), self.tally, await depths(self._channel, queues))

    async def settled(self, show: Callable[[Picture], None]) -> None:
        """Wait until every call has ended and nothing waits any more, showing each look; or until the time is up."""
        async with asyncio.timeout(LIMIT_S):
            while not _is_settled(picture := await self.picture()):
                show(picture)
                await asyncio.sleep(LOOK_EVERY_S)
        show(picture)

    async def account(self) -> Account:
        """Add it all up, by call id."""
        ended = await self._ended()
        letters = [letter async for letter in self._letters()]
        missing = sorted(self.tally.missing(ended, letters))
        return Account(len(ended), self.tally, letters, missing, len(BROKEN))

    async def _ended(self) -> set[str]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.vapi_url}/_simulate/account") as answer:
            return {call["id"] for call in (await answer.json())["calls"]}

    async def _letters(self) -> AsyncIterator[Letter]:
        """The dead letters of this run, left where they are: unacknowledged, they go back with the channel."""
        for queue in (name for name in (each.name for each in self._topology.queues) if name.endswith(".dead")):
            lying = await self._channel.get_queue(queue, ensure=False)
            while (letter := await lying.get(fail=False, no_ack=False)) is not None:
                if (letter.timestamp.timestamp() if letter.timestamp else 0) >= self._began_at - 1:
                    yield letter_of(letter.headers, letter.correlation_id or "", queue.removesuffix(".dead"))


def _is_settled(picture: Picture) -> bool:
    queued = sum(depth for queue, depth in picture.depths.items() if queue.startswith("calls.enrich."))
    still = picture.waiting + queued - picture.depths.get(dead_queue("calls.enrich.default"), 0)
    return picture.ended >= CALLS and len(picture.tally.enriched) >= CALLS and still <= 0


@asynccontextmanager
async def running(environ: Mapping[str, str], tell: Callable[[str], None]) -> AsyncIterator[Demo]:
    """Start everything, one after the other; all of it ends with the context."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aftercall-demo-")))
        tell("Starting RabbitMQ …")
        broker = await stack.enter_async_context(find_broker(environ, tell=tell))
        tell(f"RabbitMQ: {broker.origin}")
        environment, ports = _environment(broker.url, folder)
        settings = load(environment)
        tell("Starting the endpoint and the enricher …")
        for name, port in (("webhook", ports["webhook probes"]), ("consume enrich", ports["enricher probes"])):
            role = Role(
                *name.split(),
                environment=environment | {"AFTERCALL_ADMIN_PORT": str(port)},
                log=folder / f"{name.partition(' ')[0]}.log",
            )
            await stack.enter_async_context(role)
            await role.ready(f"http://127.0.0.1:{port}/readyz")
        channel = await stack.enter_async_context(opened(broker.url))
        vapi_url = settings.vapi_base_url
        demo = Demo(settings, channel, vapi_url, folder)
        looking = asyncio.create_task(demo.look_on(), name="look on")
        stack.callback(looking.cancel)
        tell("Starting the simulated Vapi …")
        vapi = Role(*_simulator(settings, ports["vapi"]), environment=environment, log=folder / "vapi.log")
        await stack.enter_async_context(vapi)
        await vapi.ready(f"{vapi_url}/_simulate/account")
        await _send_broken(settings)
        yield demo


def _environment(amqp_url: str, folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    names = ("webhook", "vapi", "webhook probes", "enricher probes")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    environment = TIMES | {
        "AFTERCALL_AMQP_URL": amqp_url,
        "AFTERCALL_VAPI_API_KEY": "demo-key",
        "AFTERCALL_VAPI_BASE_URL": f"http://127.0.0.1:{ports['vapi']}",
        "AFTERCALL_WEBHOOK_SECRETS": SECRET,
        "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
        "AFTERCALL_WEBHOOK_PORT": str(ports["webhook"]),
        # Never the default: what an installation here has spooled is not for the demo's broker.
        "AFTERCALL_SPOOL_DIR": str(folder / "spool"),
    }
    return environment, ports


def _endpoint(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.webhook_port}/webhooks/vapi"


def _simulator(settings: Settings, port: int) -> tuple[str, ...]:
    numbers = ("--port", str(port), "--rate", str(RATE), "--count", str(CALLS))
    return ("simulate", *numbers, "--faults", FAULTS, "--webhook-url", _endpoint(settings))


async def _send_broken(settings: Settings) -> None:
    def sign(_method: str, _url: str, _body: bytes) -> dict[str, str]:
        return {"Authorization": f"Bearer {SECRET}"}

    await send(BROKEN, url=_endpoint(settings), signer=sign, concurrency=1)


def subscriber_depths(settings: Settings, picture: Picture) -> dict[str, int]:
    """How many enriched calls each subscriber's queue holds."""
    return {name: picture.depths.get(subscriber_queue(name), 0) for name in settings.subscribers}
