"""The simulated HubSpot in one piece: its API and its control door, on a port of this machine."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from worker.simulate.hubspot.errors import Refusal, answer, limited, unauthenticated
from worker.simulate.hubspot.limits import Limits
from worker.simulate.hubspot.portal import Portal
from worker.simulate.hubspot.routes import Api
from worker.simulate.hubspot.trouble import Trouble

CONTROL: Final = "/_simulate/"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SimulatedHubSpot:
    """A HubSpot account with its API, started and closed by its user."""

    def __init__(self, trouble: Trouble = Trouble(), *, port: int = 0, seed: int = 1) -> None:  # noqa: B008  # frozen
        self.portal = Portal(time.time)
        self._api = Api(self.portal, trouble, time.time)
        self._limits = Limits(time.monotonic)
        self._port = port
        self._chance = random.Random(seed)  # noqa: S311  # of a simulation
        self.url = ""

    @property
    def trouble(self) -> Trouble:
        """What ails it; assign another to change it from the next request on."""
        return self._api.trouble

    @trouble.setter
    def trouble(self, trouble: Trouble) -> None:
        self._api.trouble = trouble

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[self._guard])
        self._api.add_routes(application)
        application.router.add_get(f"{CONTROL}account", self._tell)
        application.router.add_post(f"{CONTROL}faults", self._change)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._runner.cleanup()

    def tell(self) -> dict[str, Any]:
        """All that the account holds, and how often it was asked what."""
        records = self.portal.records
        return {
            "contacts": [each.tell() for each in records["contacts"].values()],
            "calls": [each.tell() | {"contacts": each.contacts} for each in records["calls"].values()],
            "properties": {kind: sorted(known) for kind, known in self.portal.properties.items()},
            "requests": dict(self._api.requests),
            "limited": self._limits.refused,
        }

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What stands before every request: the token, the trouble and the limits."""
        if request.path.startswith(CONTROL):
            return await handler(request)
        self._api.requests[f"{request.method} {_place(request)}"] += 1
        is_search = request.path.endswith("/search")
        try:
            if request.headers.get("Authorization") != f"Bearer {self.trouble.token}":
                raise unauthenticated()
            if (refused := self._refused(is_search=is_search)) is not None:
                return refused
            response = await handler(request)
        except Refusal as refusal:
            response = answer(refusal.body, status=refusal.status)
        if not is_search:
            response.headers.update(self._limits.headers(self.trouble))
        return await self._sent(request, response)

    def _refused(self, *, is_search: bool) -> web.Response | None:
        trouble = self.trouble
        wait = {"Retry-After": str(trouble.retry_after_s)} if trouble.retry_after_s else None
        if trouble.status:
            return answer({"status": "error", "message": "trouble"}, status=trouble.status, headers=wait)
        if self._happens(trouble.server_error):
            return answer({"status": "error", "message": "internal error"}, status=self._chance.choice((500, 502, 503)))
        policy = "TEN_SECONDLY_ROLLING" if self._happens(trouble.rate_limited) else ""
        if policy := policy or self._limits.exceeded(trouble, is_search=is_search):
            return answer(limited(policy), status=429, headers=wait)
        return None

    async def _sent(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """The answer, unless it is lost on its way, or late."""
        is_write = request.method != "GET" and not request.path.endswith("/search")
        is_done = is_write and response.status < 300  # noqa: PLR2004
        if is_done and self.trouble.acts_then_waits_s:
            await asyncio.sleep(self.trouble.acts_then_waits_s)
        if is_done and self._happens(self.trouble.lost) and request.transport is not None:
            request.transport.abort()
        return response

    def _happens(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share

    async def _tell(self, _request: web.Request) -> web.Response:
        return answer(self.tell())

    async def _change(self, request: web.Request) -> web.Response:
        """Change what is named and leave the rest; `{"today": 0}` begins a new day of requests."""
        try:
            changes = msgspec.json.decode(await request.read(), type=dict[str, Any])
            self._limits.today = int(changes.pop("today", self._limits.today))
            self.trouble = self.trouble.changed(changes)
        except ValueError as error:
            return answer({"status": "error", "message": str(error)}, status=400)
        return answer(msgspec.to_builtins(self.trouble))


def _place(request: web.Request) -> str:
    """The route, without what differs from record to record."""
    resource = request.match_info.route.resource
    place = resource.canonical if resource else request.path
    return place.replace("{version}", "").replace("{kind}", request.match_info.get("kind", "")).replace("//", "/")
