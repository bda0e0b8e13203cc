"""Posting webhooks as Vapi does: signed over the raw bytes, once, unless a backoff plan says otherwise."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from worker.operate.words import in_words

# method, url and body in; the headers that prove who sends it out
Signer = Callable[[str, str, bytes], dict[str, str]]

_TIMEOUT_S = 20.0
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint said to one webhook; `status` is None when no answer came, and `error` says why."""

    name: str
    status: int | None
    error: str
    seconds: float

    @property
    def is_accepted(self) -> bool:
        """The endpoint has taken the webhook: any 2xx."""
        return self.status in _SUCCESS


@dataclass(frozen=True, slots=True)
class BackoffPlan:
    """Vapi's `server.backoffPlan`: how often a refused webhook is sent again, and when."""

    max_retries: int
    base_delay_s: float
    is_exponential: bool = True
    excluded_statuses: frozenset[int] = frozenset()

    def delay_s(self, retry: int) -> float:
        """Return the wait before this retry (from 1), in seconds."""
        return self.base_delay_s * (2 ** (retry - 1) if self.is_exponential else 1)

    def allows(self, retry: int, answer: Answer) -> bool:
        """Decide whether an answer is followed by this retry (from 1)."""
        refused = not answer.is_accepted and answer.status not in self.excluded_statuses
        return refused and retry <= self.max_retries


def unsigned(_method: str, _url: str, _body: bytes) -> dict[str, str]:
    """Sign nothing, for endpoints that check nothing."""
    return {}


def open_session(concurrency: int) -> aiohttp.ClientSession:
    """Open a session that posts up to `concurrency` webhooks at a time and waits 20 s for each answer, as Vapi does."""
    connector = aiohttp.TCPConnector(limit=concurrency)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))


async def post(session: aiohttp.ClientSession, name: str, body: bytes, *, url: str, signer: Signer) -> Answer:
    """Post one webhook and return what came back; no answer is an answer too."""
    began_at = time.perf_counter()
    headers = {"Content-Type": "application/json", **signer("POST", url, body)}
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            await response.read()
            status, error = response.status, ""
    except (aiohttp.ClientError, TimeoutError) as failure:
        status, error = None, in_words(failure)
    return Answer(name, status, error, time.perf_counter() - began_at)


async def send(bodies: Sequence[tuple[str, bytes]], *, url: str, signer: Signer, concurrency: int) -> list[Answer]:
    """Post webhook bodies, each named, `concurrency` at a time; the answers come in the order of the bodies."""
    slots = asyncio.Semaphore(concurrency)
    async with open_session(concurrency) as session:

        async def post_in_turn(name: str, body: bytes) -> Answer:
            async with slots:
                return await post(session, name, body, url=url, signer=signer)

        return list(await asyncio.gather(*(post_in_turn(name, body) for name, body in bodies)))
