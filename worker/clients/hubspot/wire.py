"""One request to HubSpot, as it goes over the wire."""

import asyncio
import time
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from consumers.enrich import ApiUnavailable, CallUnreadable
from consumers.tolerant_json import NotJson, dump, parse
from worker.clients.hubspot.answers import Answer
from worker.clients.tls import TlsFileUnusable, followed_context
from worker.clients.vapi_http import asked_wait_s, read_body
from worker.operate.telemetry import CRM_REQUEST_SECONDS, CRM_REQUESTS, status_label
from worker.operate.words import in_words
from worker.settings import Account
from worker.settings.tls import root_of, tls_files_of


class Patience(msgspec.Struct, frozen=True):
    """How long things may take (seconds): one request, with its tries, of which none begins after `budget_s`.

    All requests of one call take `whole_s` at most, with the probe after them less than a delivery may. `at_once` calls
    are at it; more would wait for each other's turns and be late together. The next waits up to `enter_s`.
    """

    whole_s: float = 32.0
    enter_s: float = 10.0
    at_once: int = 8
    request_s: float = 15.0
    turn_s: float = 20.0
    budget_s: float = 15.0
    tries_max: int = 4
    backoff_s: float = 0.5
    probe_s: float = 8.0
    body_max_bytes: int = 2**22


PATIENCE: Final = Patience()


class Passing(Exception):
    """A failure that another try may not meet."""

    def __init__(self, trouble: ApiUnavailable) -> None:
        super().__init__(trouble.reason)
        self.trouble = trouble


class WrongToken(ApiUnavailable):
    """No request could be made with it."""


class Wire:
    """Sends requests with an account's token."""

    def __init__(self, account: Account, http: aiohttp.ClientSession, base_url: str, patience: Patience) -> None:
        self._account = account
        self._http = http
        self._root, self._tls_files = root_of(base_url), tls_files_of(base_url)
        self._patience = patience

    async def send(self, method: str, path: str, body: Any) -> Answer:
        """The answer, whatever it is. Raises `Passing` if there is none, and `WrongToken`."""
        began, status = time.perf_counter(), "error"
        headers = {"Authorization": f"Bearer {self._account.crm_token.reveal()}", "Content-Type": "application/json"}
        url, data = URL(self._root + path, encoded=True), None if body is None else dump(body)
        try:
            context = followed_context(self._tls_files)
            # A redirect could carry the token to another host.
            async with (
                asyncio.timeout(self._patience.request_s),
                self._http.request(
                    method, url, headers=headers, data=data, allow_redirects=False, ssl=context
                ) as answer,
            ):
                status = status_label(answer.status)
                return await self._read(answer)
        except TimeoutError as error:
            status = "timeout"
            raise Passing(ApiUnavailable("HubSpot does not answer in time")) from error
        except (aiohttp.ClientError, TlsFileUnusable, CallUnreadable) as error:
            raise Passing(ApiUnavailable(f"HubSpot cannot be reached: {in_words(error)}")) from error
        except ValueError as error:
            raise WrongToken(f"no header can carry the token of account {self._account.name}: check it") from error
        finally:
            CRM_REQUESTS.labels(self._account.name, status).inc()
            CRM_REQUEST_SECONDS.observe(time.perf_counter() - began)

    async def _read(self, answer: aiohttp.ClientResponse) -> Answer:
        body = await read_body(answer, self._patience.body_max_bytes)
        try:
            document = parse(body) if body else {}
        except NotJson as error:
            if answer.status < 300:  # noqa: PLR2004
                raise CallUnreadable(f"it answers {answer.status} with what is no JSON") from error
            document = None
        if answer.status < 300 and not isinstance(document, dict):  # noqa: PLR2004
            raise CallUnreadable(f"it answers {answer.status} with what is no object")
        return Answer(answer.status, document, asked_wait_s(answer))
