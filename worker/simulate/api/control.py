"""The control door under `/_simulate/`: tests change the trouble, read the account and order calls."""

from collections.abc import Awaitable, Callable

import msgspec
import orjson
from aiohttp import web

from worker.simulate.account import Account, EndedCall
from worker.simulate.api.routes import Api, Trouble
from worker.simulate.api.sender import Sender

EndCalls = Callable[[int], Awaitable[list[EndedCall]]]
ChangeFaults = Callable[[str], None]

_MOST_CALLS_AT_ONCE = 100_000


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order of calls that are to end now."""

    count: int


class ControlDoor:
    """Lets tests at the simulator from outside its process; it is open to all who reach the port."""

    def __init__(self, api: Api, account: Account, *, end_calls: EndCalls, change_faults: ChangeFaults) -> None:
        self._api = api
        self._account = account
        self._end_calls = end_calls
        self._change_faults = change_faults

    def add_routes(self, application: web.Application) -> None:
        """Open the door in this application."""
        application.router.add_get("/_simulate/account", self._tell_account)
        application.router.add_post("/_simulate/faults", self._change_trouble)
        application.router.add_post("/_simulate/calls", self._order_calls)
        application.router.add_post("/_simulate/sender", self._set_sender)

    async def _tell_account(self, _request: web.Request) -> web.Response:
        return _json(self._account.tell())

    async def _change_trouble(self, request: web.Request) -> web.Response:
        """Change what is named and leave the rest; `faults` holds for the calls that end from now on."""
        try:
            changes = msgspec.json.decode(await request.read(), type=dict[str, object])
            faults = changes.pop("faults", None)
            trouble = msgspec.convert({**msgspec.to_builtins(self._api.trouble), **changes}, Trouble)
            if faults is not None:
                self._change_faults(str(faults))
        except ValueError as error:
            return _json({"message": str(error), "statusCode": 400}, status=400)
        self._api.trouble = trouble
        return _json(msgspec.to_builtins(trouble))

    async def _order_calls(self, request: web.Request) -> web.Response:
        try:
            order = msgspec.json.decode(await request.read(), type=Order)
        except ValueError as error:
            return _json({"message": str(error), "statusCode": 400}, status=400)
        ended = await self._end_calls(min(max(order.count, 0), _MOST_CALLS_AT_ONCE))
        return _json({"calls": [call.outline.id for call in ended]})

    async def _set_sender(self, request: web.Request) -> web.Response:
        """Say anew which assistants and numbers there are, and whether the key may see the organisation."""
        try:
            sender = msgspec.json.decode(await request.read(), type=Sender)
        except ValueError as error:
            return _json({"message": str(error), "statusCode": 400}, status=400)
        self._api.sender = sender
        return _json(msgspec.to_builtins(sender))


def _json(content: object, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
