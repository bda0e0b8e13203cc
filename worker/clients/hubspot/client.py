"""One account's HubSpot: contacts and engagements, searched, read, created, updated and associated."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp

from consumers.crm.hubspot import Filter, Kind, Record, Refused
from consumers.enrich import ApiUnavailable
from consumers.outcomes import Hold, Retry
from worker.clients.hubspot.answers import NO_PROPERTY, NOT_FOUND, Answer, masked
from worker.clients.hubspot.keys import API, keys_of, trouble_of
from worker.clients.hubspot.requests import Requests
from worker.clients.hubspot.wire import PATIENCE, Patience
from worker.settings import Account, Settings

CALL_TO_CONTACT: Final = 194
"""HubSpot's id of the association, the same in every account."""
FOUND_MAX: Final = 100
NO_VALUES: Final[Mapping[str, str]] = {}
NOBODY: Final = f"/crm/objects/{API}/contacts/0"
"""No contact has that id: who may not write is told so (403) before that is noticed (404)."""


class HubSpotClient:
    """A `consumers.crm.hubspot.HubSpot`. What it rests on, the right to write and the keys, is seen to first."""

    def __init__(
        self, account: Account, http: aiohttp.ClientSession, settings: Settings, *, patience: Patience = PATIENCE
    ) -> None:
        self._requests = Requests(
            account, http, settings.crm_base_url, settings.crm_rate, probe=self.probe, patience=patience
        )
        self._keys = keys_of(settings.crm)
        self._patience = patience
        self._is_ready = False
        self._getting_ready = asyncio.Lock()
        self._places = asyncio.Semaphore(patience.at_once)
        self.breaker = self._requests.breaker

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """All that is asked for one call, within its time. Raises `Hold` or `Retry` when that is over."""
        try:
            async with asyncio.timeout(self._patience.whole_s):
                await self._enter()
                try:
                    yield
                finally:
                    self._places.release()
        except TimeoutError as error:
            raise await self._requests.judged(ApiUnavailable("HubSpot does not answer in time")) from error

    async def search(self, kind: Kind, any_of: Sequence[Filter], properties: Sequence[str]) -> list[Record]:
        """Records for which any of the conditions holds; what was written a moment ago may be missing."""
        groups = [
            {"filters": [{"propertyName": each.property, "operator": each.operator, "value": each.value}]}
            for each in any_of
        ]
        body = {"filterGroups": groups, "properties": list(properties), "limit": FOUND_MAX}
        values = {each.property: each.value.lstrip("*") for each in any_of}
        answer = _there(await self._ask("POST", f"{_objects(kind)}/search", body, values))
        return [_record(each) for each in answer.document.get("results") or ()]

    async def get(self, kind: Kind, id_: str, properties: Sequence[str], *, by: str = "") -> Record | None:
        """A record by its id, or by the value of a unique property, as it is now."""
        query = urlencode({"properties": ",".join(properties)} | ({"idProperty": by} if by else {}))
        answer = await self._ask("GET", f"{_objects(kind)}/{quote(id_, safe='')}?{query}", values={by: id_})
        return None if answer.status == NOT_FOUND else _record(answer.document)

    async def create(self, kind: Kind, properties: Mapping[str, str], *, contact: str = "") -> str:
        """A new record, an engagement associated with a contact; its id. Raises `Refused`."""
        types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": CALL_TO_CONTACT}]
        body: dict[str, Any] = {"properties": properties}
        if contact:
            body["associations"] = [{"to": {"id": contact}, "types": types}]
        return _record(_there(await self._ask("POST", _objects(kind), body, properties)).document).id

    async def update(self, kind: Kind, id_: str, properties: Mapping[str, str], *, by: str = "") -> str | None:
        """Write properties of a record; its id, or None if there is no such record. Raises `Refused`."""
        query = f"?{urlencode({'idProperty': by})}" if by else ""
        path = f"{_objects(kind)}/{quote(id_, safe='')}{query}"
        answer = await self._ask("PATCH", path, {"properties": properties}, properties)
        return None if answer.status == NOT_FOUND else _record(answer.document).id

    async def associate(self, call: str, contact: str) -> None:
        """Put an engagement on a contact's timeline; again is the same."""
        _there(await self._ask("PUT", f"{_objects('calls')}/{call}/associations/default/contacts/{contact}"))

    async def probe(self) -> None:
        """Ask for any contact and, unless that is known, whether the token may write and the keys are there.

        Raises `ApiUnavailable` unless all is as it should be.
        """
        await self._requests.once("GET", f"{_objects('contacts')}?limit=1")
        if self._is_ready:
            return
        await self._requests.once("PATCH", NOBODY, {"properties": {}}, expected=(400, NOT_FOUND))
        for key in self._keys:
            if trouble := await trouble_of(key, self._requests.once):
                raise ApiUnavailable(trouble)
        self._is_ready = True

    async def _ask(self, method: str, path: str, body: Any = None, values: Mapping[str, str] = NO_VALUES) -> Answer:
        """An answer; what is refused is told without the `values` that were sent."""
        async with self._getting_ready:
            await self._get_ready()
        try:
            return await self._requests.ask(method, path, body)
        except Hold:
            self._is_ready = self._is_ready and not self.breaker.is_open
            raise
        except Refused as refused:
            told = Refused(masked(refused.reason, values), refused.existing_id)
            self._look_for_key(told)
            raise told from refused

    async def _enter(self) -> None:
        try:
            async with asyncio.timeout(self._patience.enter_s):
                await self._places.acquire()
        except TimeoutError as error:
            raise Hold(f"our own rate limit leaves no turn within {self._patience.enter_s:g} s") from error

    async def _get_ready(self) -> None:
        if self.breaker.is_open:
            raise Hold(self.breaker.reason)
        try:
            if not self._is_ready:
                await self.probe()
        except ApiUnavailable as error:
            self.breaker.open(error.reason, error.retry_after)
            raise Hold(error.reason) from error

    def _look_for_key(self, refused: Refused) -> None:
        """Raise `Hold` for want of a key: deleted by somebody, or so new that not all of HubSpot knows it."""
        if NO_PROPERTY.search(refused.reason) and any(key.name in refused.reason for key in self._keys):
            self._is_ready = False
            self.breaker.open(refused.reason)
            raise Hold(refused.reason) from refused


def _objects(kind: Kind) -> str:
    return f"/crm/objects/{API}/{kind}"


def _record(document: Any) -> Record:
    properties = document.get("properties")
    if not document.get("id"):
        raise Retry("HubSpot answers without the id of the record")
    return Record(str(document["id"]), properties if isinstance(properties, dict) else {})


def _there(answer: Answer) -> Answer:
    """An answer that nothing was to be missing for: a contact that was there a moment ago may be deleted or merged."""
    if answer.status == NOT_FOUND:
        raise Retry(f"HubSpot does not find what the call is about (404): {answer.words}")
    return answer
