"""A client of the simulated Vapi, and an endpoint for its webhooks."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp import web

from worker.simulate.vapi import SimulatedVapi, SimulatorSettings

KEY = "private-key"
SECRET = "webhook-secret"
UNKNOWN_ID = "01a058c7-4c94-7cd1-8155-66af75f0734c"


def signer(_method: str, _url: str, _body: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRET}"}


@dataclass
class Endpoint:
    """An endpoint that keeps what it is sent, and answers what it is told to before it accepts."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    in_hand: int = 0
    most_in_hand: int = 0

    async def receive(self, request: web.Request) -> web.Response:
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        body = await request.read()
        self.in_hand -= 1
        if request.headers.get("Authorization") != f"Bearer {SECRET}":
            return web.Response(status=401)
        if self.refusals:
            return web.Response(status=self.refusals.pop(0))
        self.bodies.append(body)
        return web.Response()

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body)["message"] for body in self.bodies]


@dataclass
class Client:
    """A client of the API with the right key."""

    session: aiohttp.ClientSession
    vapi: SimulatedVapi

    async def get(self, path: str, *, key: str = KEY, **query: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        async with self.session.get(self.vapi.url + path, headers=headers, params=query) as response:
            body = await response.read()
            return response.status, json.loads(body) if response.content_type == "application/json" else body.decode()

    async def control(self, path: str, change: dict[str, Any]) -> tuple[int, Any]:
        async with self.session.post(f"{self.vapi.url}/_simulate/{path}", json=change) as response:
            return response.status, await response.json()


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: float = 1_788_195_955.477

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def simulating(settings: SimulatorSettings) -> AsyncIterator[Client]:
    async with SimulatedVapi(settings) as vapi, aiohttp.ClientSession() as session:
        yield Client(session, vapi)


def settings(endpoint: Endpoint | None = None, **changes: Any) -> SimulatorSettings:
    base = SimulatorSettings(api_key=KEY, signer=signer, webhook_url=endpoint.url if endpoint else "", time_scale=0.01)
    return replace(base, **changes)
