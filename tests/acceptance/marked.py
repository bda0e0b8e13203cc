"""Calls, secrets and servers whose every word is marked, so that any of it can be found wherever it turns up."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.acceptance.conftest import fresh_report, sample
from tests.serving import listening

NUMBER = "+15557770199"
SPELLINGS = (NUMBER, "(555) 777-0199", "555.777.0199", "+1 555 777 0199")
MARK = "qx"
WORDS = f"marzipan{MARK} Zebulon{MARK} Zeb@mark{MARK}.example {' '.join(SPELLINGS)}"
URL = f"https://user:hush{MARK}-url@files{MARK}.example/call.wav?token=hush{MARK}-token"
WEBHOOK_SECRET, VAPI_KEY, CRM_TOKEN = f"hush{MARK}-webhook", f"hush{MARK}-key", f"pat-hush{MARK}"
DIGITS = re.compile(r"[\s().-]")


def marks_in(text: str) -> list[str]:
    """The lines with something that was marked."""
    return [line for line in text.splitlines() if MARK in line.lower() or "5557770199" in DIGITS.sub("", line)]


def marked(name: str) -> dict[str, Any]:
    """A sample in which every place that may hold something private does."""
    told: dict[str, Any] = _spoken(sample(f"{name}.json"))
    return told


def _spoken(value: Any) -> Any:
    """The same with each longer text replaced; names of things, times and ids stay."""
    if isinstance(value, dict):
        return {key: _spoken(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spoken(item) for item in value]
    if isinstance(value, str) and value.startswith(("http", "wss")):
        return URL
    return WORDS if isinstance(value, str) and (" " in value or value.startswith("+") or "@" in value) else value


def call_of(call_id: str) -> dict[str, Any]:
    """What Vapi tells of a call."""
    person = {"number": NUMBER, "name": f"Zebulon{MARK}", "email": f"zeb@mark{MARK}.example"}
    told = marked("call-outbound-ended") | {"id": call_id, "customer": person}
    server = {"url": URL, "secret": f"hush{MARK}-server", "headers": {"Authorization": f"Bearer hush{MARK}"}}
    return told | {"transcript": WORDS, "assistant": {"server": server}, "metadata": {"note": WORDS}, "summary": WORDS}


def report_of(call_id: str, **changes: Any) -> bytes:
    """The report that Vapi posts of it."""
    message = _spoken(json.loads(fresh_report("outbound-ended"))["message"])
    message["call"] = {"id": call_id}
    return json.dumps({"message": message | changes}).encode()


class QuotingVapi:
    """An API that answers each call in its own way, and every trouble with all it knows."""

    def __init__(self) -> None:
        self.is_refusing = False
        self.asked: dict[str, int] = {}

    async def answer(self, request: web.Request) -> web.Response:
        call_id = request.match_info.get("id", "")
        self.asked[call_id] = self.asked.get(call_id, 0) + 1
        if self.is_refusing:
            return web.json_response(
                {"message": f"Invalid key {request.headers['Authorization']}. {WORDS}"}, status=401
            )
        if not call_id:
            return web.json_response([call_of("listed") | {"updatedAt": "2026-08-31T17:05:55.477Z"}])
        kind = call_id.partition("-")[0]
        if kind == "late" and self.asked[call_id] < 2:
            return web.json_response({"message": f"No call of {WORDS}", "statusCode": 404}, status=404)
        trouble = {"gone": 404, "refused": 400, "broken": 500, "odd": 418}.get(kind)
        if trouble:
            return web.json_response({"message": WORDS, "statusCode": trouble}, status=trouble)
        odd: dict[str, Any] = {
            "html": f"<html>{WORDS}</html>",
            "other": json.dumps(call_of(f"another-{MARK}")),
            "shape": json.dumps(call_of(call_id) | {"artifact": WORDS, "customer": [WORDS], "endedReason": WORDS}),
        }
        return web.Response(text=odd.get(kind) or json.dumps(call_of(call_id)), content_type="application/json")


async def quoting(request: web.Request) -> web.Response:
    """Refuse what comes, and quote it: as it came, within JSON, cut off, and in other letters."""
    body = (await request.read()).decode()
    told = f"No such word: marzipan{MARK}. {dict(request.headers)} {body[:200]} {body} {body.upper()} {request.path_qs}"
    status = int(request.match_info["status"])
    headers = {"Location": URL, "Retry-After": "1"}
    return web.json_response({"message": told, "errors": [{"message": WORDS}]}, status=status, headers=headers)


async def hubspot(request: web.Request) -> web.Response:
    """A HubSpot that finds nothing and takes nothing, and quotes what it was sent."""
    if request.path.endswith("/search") or (request.method == "GET" and "/objects/" in request.path):
        return web.json_response({"total": 0, "results": []})
    if request.method == "GET":
        return web.json_response({"name": request.path.rpartition("/")[2], "hasUniqueValue": True, "type": "string"})
    body = await request.text()
    words = f"Zebulon{MARK} is no contact, marzipan{MARK} no word. {body} {json.dumps(body)} {body.upper()} {WORDS}"
    return web.json_response({"status": "error", "message": words, "category": "VALIDATION_ERROR"}, status=400)


@asynccontextmanager
async def servers(vapi: QuotingVapi) -> AsyncIterator[str]:
    """All of them at one address."""
    app = web.Application(client_max_size=2**26)
    app.router.add_get("/vapi/call", vapi.answer)
    app.router.add_get("/vapi/call/{id}", vapi.answer)
    app.router.add_route("*", "/quoting/{status}/{rest:.*}", quoting)
    app.router.add_route("*", "/{rest:.*}", hubspot)
    async with listening(app) as url:
        yield url.removeprefix("http://")
