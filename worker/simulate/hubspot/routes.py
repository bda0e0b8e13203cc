"""The API of the simulated HubSpot, as far as logging calls needs it."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from aiohttp import web

from worker.simulate.hubspot.errors import Refusal, answer, lacks, not_found
from worker.simulate.hubspot.portal import Portal
from worker.simulate.hubspot.properties import Kind, Property
from worker.simulate.hubspot.search import search
from worker.simulate.hubspot.trouble import Trouble

OBJECTS: Final = r"/crm/objects/{version:\d{4}-\d{2}}/{kind:contacts|calls}"
PROPERTIES: Final = r"/crm/properties/{version:\d{4}-\d{2}}/{kind:contacts|calls}"
ASSOCIATION: Final = r"/crm/objects/{version:\d{4}-\d{2}}/calls/{id}/associations/default/contacts/{contact}"
CALL_TO_CONTACT: Final = 194
READ: Final = "crm.objects.contacts.read"
WRITE: Final = "crm.objects.contacts.write"


class Definition(msgspec.Struct, frozen=True, rename="camel"):
    """A property that is to be made."""

    name: str
    label: str
    group_name: str
    type: str
    field_type: str
    has_unique_value: bool = False
    description: str = ""


class Api:
    """Answers requests; `trouble` may be changed at any time."""

    def __init__(self, portal: Portal, trouble: Trouble, clock: Callable[[], float]) -> None:
        self.portal = portal
        self.trouble = trouble
        self.requests: Counter[str] = Counter()
        self._clock = clock

    def add_routes(self, application: web.Application) -> None:
        """Serve the API in this application."""
        router = application.router
        router.add_get(OBJECTS, self._list)
        router.add_post(OBJECTS, self._create)
        router.add_post(f"{OBJECTS}/search", self._search)
        router.add_get(f"{OBJECTS}/{{id}}", self._get)
        router.add_patch(f"{OBJECTS}/{{id}}", self._update)
        router.add_put(ASSOCIATION, self._associate)
        router.add_get(PROPERTIES, self._list_properties)
        router.add_post(PROPERTIES, self._define)
        router.add_get(f"{PROPERTIES}/{{name}}", self._get_property)

    async def _list(self, request: web.Request) -> web.Response:
        self._need(READ)
        limit = int(request.query.get("limit", "10"))
        return answer({"results": [each.tell() for each in list(self._records(request).values())[:limit]]})

    async def _create(self, request: web.Request) -> web.Response:
        self._need(WRITE)
        asked = await _body(request)
        contacts = [_associated(each) for each in asked.get("associations") or ()]
        return answer(self.portal.create(_kind(request), _values(asked), contacts).tell(), status=201)

    async def _get(self, request: web.Request) -> web.Response:
        self._need(READ)
        wanted = [name for name in request.query.get("properties", "").split(",") if name]
        record = self.portal.find(_kind(request), request.match_info["id"], request.query.get("idProperty", ""))
        return answer(record.tell(wanted or None))

    async def _update(self, request: web.Request) -> web.Response:
        self._need(WRITE)
        values, by = _values(await _body(request)), request.query.get("idProperty", "")
        return answer(self.portal.update(_kind(request), request.match_info["id"], values, by).tell())

    async def _search(self, request: web.Request) -> web.Response:
        self._need(READ)
        shown_until = self._clock() - self.trouble.search_lag_s
        return answer(search(self.portal, _kind(request), await _body(request), shown_until))

    async def _associate(self, request: web.Request) -> web.Response:
        self._need(WRITE)
        call = self.portal.find("calls", request.match_info["id"])
        contact = self.portal.find("contacts", request.match_info["contact"])
        if contact.id not in call.contacts:
            call.contacts.append(contact.id)
        return answer({"status": "COMPLETE", "results": [{"from": {"id": call.id}, "to": {"id": contact.id}}]})

    async def _list_properties(self, request: web.Request) -> web.Response:
        self._need(READ)
        return answer({"results": [each.tell() for each in self.portal.properties[_kind(request)].values()]})

    async def _get_property(self, request: web.Request) -> web.Response:
        self._need(READ)
        found = self.portal.properties[_kind(request)].get(request.match_info["name"])
        if found is None:
            raise not_found("Property does not exist")
        return answer(found.tell())

    async def _define(self, request: web.Request) -> web.Response:
        self._need(f"crm.schemas.{_kind(request)}.write")
        try:
            asked = msgspec.json.decode(await request.read(), type=Definition)
        except msgspec.ValidationError as error:
            raise Refusal(400, "VALIDATION_ERROR", f"Invalid input JSON: {error}") from error
        made = Property(**{name: getattr(asked, name) for name in Definition.__struct_fields__})
        self.portal.define(_kind(request), made)
        return answer(made.tell(), status=201)

    def _need(self, scope: str) -> None:
        if scope not in self.trouble.scopes:
            raise lacks(scope)

    def _records(self, request: web.Request) -> dict[str, Any]:
        return cast("dict[str, Any]", self.portal.records[_kind(request)])


def _kind(request: web.Request) -> Kind:
    return cast("Kind", request.match_info["kind"])


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Refusal(400, "VALIDATION_ERROR", f"Invalid input JSON: {error}") from error


def _values(asked: dict[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in (asked.get("properties") or {}).items()}


def _associated(asked: dict[str, Any]) -> str:
    types = [each.get("associationTypeId") for each in asked.get("types", ())]
    if types != [CALL_TO_CONTACT]:
        raise Refusal(400, "VALIDATION_ERROR", f"association types {types} are not simulated")
    return str(asked["to"]["id"])
