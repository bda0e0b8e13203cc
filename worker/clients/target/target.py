"""One target of `forward`: posts a call to it, signed, and tells what became of it."""

import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from yarl import URL

from consumers.forward import Answer, Gone, judge
from consumers.outcomes import Reject, Retry
from consumers.standard_webhooks import signed_headers
from consumers.targets import Target
from worker.clients.target.answers import read_answer, why_not
from worker.clients.target.gate import PATIENCE, Gate, Patience
from worker.clients.target.guard import public_socket
from worker.clients.vapi import USER_AGENT
from worker.operate.telemetry import FORWARD_POSTS, FORWARD_STOPPED, logger, status_label
from worker.settings.credentials import Credentials

CONNECT_S: Final = 5.0
KEPT_OPEN_S: Final = 4.0  # Node's servers close what is idle for 5 s, and a post is not to meet that

Ask = Callable[[], Credentials]
"""The target's credentials as they are now. Raises `ValueError` if they cannot be read."""


@asynccontextmanager
async def open_target(
    name: str, target: Target, ask: Ask, *, at_once: int, patience: Patience = PATIENCE
) -> AsyncIterator["TargetClient"]:
    """A client of a target, with connections of its own."""
    connector = aiohttp.TCPConnector(
        limit=0,  # its gate limits it
        keepalive_timeout=KEPT_OPEN_S,
        socket_factory=None if target.allow_private else public_socket,
    )
    http = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=target.timeout_s, sock_connect=CONNECT_S),
        auto_decompress=False,  # an answer is looked at briefly, and shall not swell
    )
    async with http:
        yield TargetClient(name, target, ask, http, Gate(name, at_once, patience=patience))


class TargetClient:
    """Posts to one target, which is stopped for good once it says that it is gone."""

    def __init__(self, name: str, target: Target, ask: Ask, http: aiohttp.ClientSession, gate: Gate) -> None:
        self._name = name
        self._target = target
        self._ask = ask
        self._http = http
        self._gate = gate
        self._url = URL(target.url, encoded=True)  # as it was given: it may hold a signature
        self._credentials = ask()
        self._stopped = ""
        FORWARD_STOPPED.labels(name).set(0)
        if not self._credentials.keys:
            logger().warning("forward.unsigned", target=name, detail="nobody there can tell who posts")

    async def post(self, event_id: str, body: bytes) -> None:
        """Post a call. Raises `Retry` if it is to be tried again, and `Reject` if it was refused for good."""
        async with self._gate.turn():
            if self._stopped:
                raise Reject(self._stopped)
            try:
                judge(await self._exchange(event_id, body))
            except Gone as gone:
                self._stop(gone.reason)
                raise

    async def _exchange(self, event_id: str, body: bytes) -> Answer:
        status = "error"
        try:
            async with self._request(event_id, body) as response:
                status = status_label(response.status)
                answer = await read_answer(response, self._target, self._secrets(), body)
        except TimeoutError as error:
            status = "timeout"
            raise self._away(f"does not answer within {self._target.timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(why_not(error)) from error
        finally:
            FORWARD_POSTS.labels(self._name, status).inc()
        self._gate.answered()
        if answer.retry_after_s is not None:
            self._gate.rest(answer.retry_after_s, f"answered {status}, and asked for it")
        return answer

    def _request(self, event_id: str, body: bytes) -> "aiohttp.client._RequestContextManager":
        self._credentials = self._asked()
        signed = signed_headers(event_id, time.time(), body, self._credentials.keys)
        headers = {**self._own_headers(), "Content-Type": "application/json", **signed}
        # A redirect could lead elsewhere with all that stands in the headers.
        return self._http.post(self._url, data=io.BytesIO(body), headers=headers, allow_redirects=False)

    def _own_headers(self) -> dict[str, str]:
        return self._target.headers | self._credentials.headers

    def _secrets(self) -> list[str]:
        """What an answer may quote and nobody else is to read: the headers, and the URL, which may be a secret."""
        path = self._url.raw_path
        parts = [part for part in path.split("/") if not part.isalpha()]
        return [*self._own_headers().values(), path, *parts, *self._url.query.values()]

    def _asked(self) -> Credentials:
        """The credentials; while their file cannot be read, or is empty, those before: a post would be refused."""
        try:
            asked = self._ask()
        except ValueError:
            return self._credentials
        had = self._credentials
        is_less = (had.keys and not asked.keys) or (had.headers and not asked.headers)
        return had if is_less else asked

    def _away(self, why: str) -> Retry:
        self._gate.failed(why)
        return Retry(why)

    def _stop(self, reason: str) -> None:
        if not self._stopped:
            self._stopped = reason
            FORWARD_STOPPED.labels(self._name).set(1)
            logger().error("forward.stopped", target=self._name, reason=reason)
