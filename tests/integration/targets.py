"""Targets to post to, simulated or odd, and a client of one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from consumers.outcomes import Reject, Retry
from consumers.targets import Target
from tests.integration.vapi_api import Play
from tests.serving import listening
from worker.clients.target.gate import Patience
from worker.clients.target.target import TargetClient, open_target
from worker.settings import Secret
from worker.settings.credentials import Credentials, credentials_of
from worker.simulate.target import Answer, served
from worker.simulate.target import Target as Simulated

ID = "default/01a058c7-4c94-7cd1-8155-66af75f0734c/0123456789abcdef"
BODY = b'{"callId":"01a058c7"}'
BRIEF = Patience(failures=2, pause_min_s=60)


@dataclass
class Server:
    """A simulated target, served."""

    url: str
    simulated: Simulated

    @property
    def received(self) -> list[dict[str, Any]]:
        return self.simulated.received

    def answers(self, **changes: Any) -> None:
        self.simulated.answer = Answer(**{"body": ""} | changes)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    simulated = Simulated()
    async with served(simulated) as url:
        yield Server(url, simulated)


@asynccontextmanager
async def client(
    url: str, secret: Secret | str = "", *, at_once: int = 8, patience: Patience = BRIEF, **changes: Any
) -> AsyncIterator[TargetClient]:
    told = secret if isinstance(secret, Secret) else Secret(secret)

    def ask() -> Credentials:
        return credentials_of(told, "zapier")

    target = Target(**{"url": url, "allow_private": True, "timeout_s": 5.0} | changes)
    async with open_target("zapier", target, ask, at_once=at_once, patience=patience) as opened:
        yield opened


async def refusal(url: str, **changes: Any) -> Retry | Reject:
    async with client(url, **changes) as target:
        return await refused(target)


async def refused(target: TargetClient) -> Retry | Reject:
    with pytest.raises((Retry, Reject)) as error:
        await target.post(ID, BODY)
    assert isinstance(error.value, Retry | Reject)
    return error.value


@asynccontextmanager
async def playing(play: Play) -> AsyncIterator[str]:
    """A server that does to each request whatever it is told to."""
    application = web.Application()
    application.router.add_post("/hook", play)
    async with listening(application) as url:
        yield f"{url}/hook"
