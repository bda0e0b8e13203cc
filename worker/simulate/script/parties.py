"""Who takes part in a simulated call, over which line: what is known of it from its creation on."""

import random

from worker.simulate.script.contents import JSON
from worker.simulate.script.endings import INBOUND, OUTBOUND
from worker.simulate.script.outlines import ORG_ID, PHONE_NUMBER_ID, Outline, iso, stream

_OUR_NUMBER = "+15035550142"
_PHONE_FIELDS = ("phoneNumberId", "phoneCallProvider", "phoneCallTransport", "phoneCallProviderId", "webCallUrl")
_CALLER_FIELDS = ("transport", "customer", "metadata", "assistantOverrides", "name")


def stale_snapshot(document: JSON) -> JSON:
    """Return `message.call` as webhooks have it: the call as it was created, whatever became of it since."""
    known = ("id", "orgId", "createdAt", "type", "assistantId", "assistant", "monitor", *_PHONE_FIELDS, *_CALLER_FIELDS)
    snapshot = {name: document[name] for name in known if name in document}
    status = "ringing" if document["type"] == INBOUND else "queued"
    return {**snapshot, "updatedAt": document["createdAt"], "status": status}


def write_identity(rng: random.Random, outline: Outline, note: str) -> JSON:
    """Write what was known of a call when it was created; a note goes into its metadata."""
    host = "phone-call-websocket.aws-us-west-2-backend-production2.vapi.ai"
    monitor = {"listenUrl": f"wss://{host}/{outline.id}/listen", "controlUrl": f"https://{host}/{outline.id}/control"}
    return {
        "id": outline.id,
        "orgId": ORG_ID,
        "createdAt": iso(outline.created_at),
        "type": outline.call_type,
        **_assistant_reference(rng, outline),
        "monitor": monitor,
        **_line(rng, outline),
        "metadata": {"crmContactId": str(rng.randint(10_000, 99_999)), **({"note": note} if note else {})},
        "assistantOverrides": {"variableValues": {"visitor": f"v-{outline.number}"}, "server": _server(rng)},
    }


def _assistant_reference(rng: random.Random, outline: Outline) -> JSON:
    if outline.assistant_id is None:
        return {"assistant": _assistant(rng, outline)}
    return {"assistantId": outline.assistant_id}


def _line(rng: random.Random, outline: Outline) -> JSON:
    if not outline.is_phone_call:
        room = f"https://vapi.daily.co/{outline.id[-12:]}"
        return {"transport": {"provider": "daily", "callUrl": room}, "webCallUrl": room}
    sid = f"CA{rng.getrandbits(128):032x}"
    return {
        "phoneNumberId": PHONE_NUMBER_ID,
        "phoneCallProvider": "twilio",
        "phoneCallTransport": "pstn",
        "phoneCallProviderId": sid,
        "transport": {"provider": "twilio", "accountSid": "AC" + "0" * 32, "callSid": sid},
        "customer": {"number": outline.customer_number, "name": outline.customer_name},
        **({"name": "recall"} if outline.call_type == OUTBOUND else {}),
    }


def _server(rng: random.Random) -> JSON:
    secret = f"simulated-secret-{rng.getrandbits(64):016x}"
    return {"url": "https://hooks.example.com/vapi", "timeoutSeconds": 20, "secret": secret}


def _assistant(rng: random.Random, outline: Outline) -> JSON:
    cast = outline.assistant
    tool = {"type": "function", "function": {"name": cast.tool}, "server": _server(rng)}
    prompt = {"role": "system", "content": cast.prompt}
    return {
        "id": cast.id,
        "orgId": ORG_ID,
        "name": cast.name,
        "voice": {"provider": "11labs", "voiceId": "sarah"},
        "model": {"provider": "openai", "model": "gpt-4.1", "messages": [prompt], "tools": [tool]},
        "transcriber": {"provider": "deepgram", "model": "nova-3", "language": "en"},
        "firstMessage": cast.greeting,
        "serverMessages": ["end-of-call-report", "status-update"],
        "server": _server(rng),
    }


def write_parties(outline: Outline, identity: JSON) -> JSON:
    """Write the two sides as webhooks have them: the full assistant, and for phone calls number and customer."""
    rng = stream(outline.seed, outline.number, "parties")
    assistant = {"assistant": identity.get("assistant") or _assistant(rng, outline)}
    if not outline.is_phone_call:
        return assistant
    line = {"id": PHONE_NUMBER_ID, "orgId": ORG_ID, "provider": "twilio", "number": _OUR_NUMBER, "server": _server(rng)}
    return {"phoneNumber": line, "customer": identity["customer"], **assistant}
