"""The simulated Vapi in one piece: it ends calls, fires their webhooks and serves the API, in this process."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Self

from aiohttp import web

from worker.simulate.account import Account, EndedCall
from worker.simulate.api.control import ControlDoor
from worker.simulate.api.documents import Documents
from worker.simulate.api.routes import Api, Trouble
from worker.simulate.api.sender import Sender, well_set
from worker.simulate.faults import Faults, plan
from worker.simulate.script.outlines import outline_call
from worker.simulate.send import BackoffPlan, Signer, unsigned
from worker.simulate.webhooks import WebhookSender, plan_webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """How the simulated Vapi is to behave.

    It ends `count` calls by itself, `rate` a second (None: without end). Without a `webhook_url` it sends nothing.
    Every duration of a fault is multiplied by `time_scale`. Raises `ValueError` for calls without a rate.
    """

    api_key: str = field(repr=False)
    webhook_url: str = ""
    signer: Signer = field(default=unsigned, repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    rate: float = 0.0
    count: int | None = 0
    size_bytes: int | None = None
    faults: Faults = field(default_factory=Faults)
    time_scale: float = 1.0
    concurrency: int = 32
    webhook_retries: BackoffPlan | None = None
    kept_bytes: int = 64 * 1024 * 1024
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.count != 0 and self.rate <= 0:
            raise ValueError("calls end by themselves only at a rate above 0")


class SimulatedVapi:
    """A Vapi account with its API, started and closed by its user; `account` tells what has happened in it."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.account = Account()
        self.faults = settings.faults
        self._settings = settings
        self._documents = Documents(settings.kept_bytes)
        self._api = Api(
            self.account,
            self._documents,
            api_key=settings.api_key,
            retry_after_s=round(2 * settings.time_scale),
            clock=settings.clock,
        )
        self._api.sender = well_set(settings.webhook_url)
        self._numbers = count()
        self._sending: set[asyncio.Task[None]] = set()
        self._url = ""

    @property
    def url(self) -> str:
        """The base URL of the API, once it is started."""
        return self._url

    @property
    def trouble(self) -> Trouble:
        """What ails the whole API; assign another to change it from the next request on."""
        return self._api.trouble

    @trouble.setter
    def trouble(self, trouble: Trouble) -> None:
        self._api.trouble = trouble

    @property
    def sender(self) -> Sender:
        """The assistants and numbers that the API tells of; assign others to change them."""
        return self._api.sender

    @sender.setter
    def sender(self, sender: Sender) -> None:
        self._api.sender = sender

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Open the port and begin to end calls. Raises `OSError` when the port is taken."""
        self._runner = web.AppRunner(self._application(), access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port, backlog=1024)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._url = f"http://{self._settings.host}:{self._runner.addresses[0][1]}"
        self._sender = self._open_sender()
        self._ending = asyncio.create_task(self._end_at_rate(), name="simulate: end calls")

    async def close(self) -> None:
        """Stop ending calls, give up the webhooks that are not answered yet, and close the port, if it was opened."""
        if not self._url:
            return
        # The port last: an endpoint may fetch a call while it still answers our webhook.
        tasks = (self._ending, *self._sending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sender.close()
        await self._runner.cleanup()

    async def end_calls(self, number: int, *, size_bytes: int | None = None) -> list[EndedCall]:
        """End that many calls now and return them; their webhooks follow."""
        ended = []
        for _ in range(number):
            ended.append(self._end_call(size_bytes or self._settings.size_bytes))
            await asyncio.sleep(0)
        return ended

    async def finish(self) -> None:
        """Wait until the calls that end by themselves have ended and every webhook has its last answer."""
        await self._ending
        while self._sending:
            await asyncio.gather(*self._sending)

    def _application(self) -> web.Application:
        application = web.Application()
        self._api.add_routes(application)
        door = ControlDoor(self._api, self.account, end_calls=self.end_calls, change_faults=self._change_faults)
        door.add_routes(application)
        return application

    def _open_sender(self) -> WebhookSender:
        settings = self._settings
        return WebhookSender(
            settings.webhook_url,
            settings.signer,
            self._documents.make,
            concurrency=settings.concurrency,
            backoff=settings.webhook_retries,
        )

    def _change_faults(self, text: str) -> None:
        self.faults = Faults.parse(text)

    async def _end_at_rate(self) -> None:
        began_at = asyncio.get_running_loop().time()
        limit = self._settings.count
        for nth in count() if limit is None else range(limit):
            due_at = began_at + nth / self._settings.rate
            await asyncio.sleep(due_at - asyncio.get_running_loop().time())
            self._end_call(self._settings.size_bytes)

    def _end_call(self, size_bytes: int | None) -> EndedCall:
        settings, number = self._settings, next(self._numbers)
        faults = plan(self.faults, settings.seed, number).paced(settings.time_scale)
        outline = outline_call(settings.seed, number, settings.clock(), size_bytes)
        ended = EndedCall(outline, faults, plan_webhooks(faults) if settings.webhook_url else ())
        self.account.add(ended)
        if ended.planned:
            self._start_sending(ended)
        return ended

    def _start_sending(self, ended: EndedCall) -> None:
        task = asyncio.create_task(self._sender.send(ended), name=f"simulate: webhooks of {ended.outline.id}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
