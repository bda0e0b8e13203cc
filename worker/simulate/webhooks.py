"""The webhooks of a call: which are sent, in which order, and what is in them."""

import asyncio
from collections.abc import Callable

from worker.simulate.account import EndedCall, SentWebhook
from worker.simulate.calls import SimulatedCall, to_json
from worker.simulate.faults import CallFaults
from worker.simulate.script.parties import stale_snapshot
from worker.simulate.send import Answer, BackoffPlan, Signer, open_session, post

REPORT = "end-of-call-report"
REPEATED_REPORT = "end-of-call-report, repeated"
FORGED_REPORT = "end-of-call-report, forged"
_NOISE_BEFORE = ("status-update in-progress", "conversation-update")
_NOISE_AFTER = ("status-update ended", "speech-update")

MakeCall = Callable[[EndedCall], SimulatedCall]


def plan_webhooks(faults: CallFaults) -> tuple[str, ...]:
    """Return the kinds of the webhooks of one call, in the order of sending."""
    reports = () if faults.is_dropped else (REPORT, *((REPEATED_REPORT,) if faults.is_doubled else ()))
    forged = (FORGED_REPORT,) if faults.is_forged else ()
    if not faults.is_noisy:
        return (*forged, *reports)
    return (*_NOISE_BEFORE, *forged, *reports, *_NOISE_AFTER)


def write_webhook(kind: str, call: SimulatedCall) -> bytes:
    """Write the body of one kind of webhook."""
    match kind:
        case "end-of-call-report":
            return call.report
        case "end-of-call-report, repeated":
            return call.repeated_report
        case "end-of-call-report, forged":
            return call.report.replace(call.id.encode(), forged_id(call.id).encode())
        case _:
            return to_json({"message": _noise(kind, call)})


def forged_id(call_id: str) -> str:
    """Return the id that a forged report gives for a call: none that ever was."""
    return "ffffffff" + call_id[8:]


def forge(signer: Signer) -> Signer:
    """Make a signer whose credentials are all wrong in their last character."""

    def sign(method: str, url: str, body: bytes) -> dict[str, str]:
        signed = signer(method, url, body)
        return {name: value[:-1] + ("1" if value.endswith("0") else "0") for name, value in signed.items()}

    return sign


class WebhookSender:
    """Sends the webhooks of calls, at most `concurrency` at a time, and writes the answers into the account."""

    def __init__(
        self, url: str, signer: Signer, make: MakeCall, *, concurrency: int, backoff: BackoffPlan | None
    ) -> None:
        self._url = url
        self._signer = signer
        self._make = make
        self._backoff = backoff
        self._slots = asyncio.Semaphore(concurrency)
        self._session = open_session(concurrency)

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        await self._session.close()

    async def send(self, ended: EndedCall) -> None:
        """Send all that is planned for a call, one after the other."""
        for kind in ended.planned:
            if kind == REPORT and ended.faults.report_delay_s:
                await asyncio.sleep(ended.faults.report_delay_s)
            ended.webhooks.append(await self._send_one(kind, ended))

    async def _send_one(self, kind: str, ended: EndedCall) -> SentWebhook:
        tries = 1
        answer = await self._post(kind, ended)
        while self._backoff and self._backoff.allows(tries, answer):
            await asyncio.sleep(self._backoff.delay_s(tries))
            answer = await self._post(kind, ended)
            tries += 1
        return SentWebhook(kind, answer.status, answer.error, tries)

    async def _post(self, kind: str, ended: EndedCall) -> Answer:
        signer = forge(self._signer) if kind == FORGED_REPORT else self._signer
        async with self._slots:
            # Written only now: thousands of calls may wait for a slot, and bodies are large.
            body = write_webhook(kind, self._make(ended))
            return await post(self._session, kind, body, url=self._url, signer=signer)


def _noise(kind: str, call: SimulatedCall) -> dict[str, object]:
    message_type, _, status = kind.partition(" ")
    common = {"timestamp": round(call.ended_at * 1000), "type": message_type, "call": stale_snapshot(call.document)}
    match message_type:
        case "status-update":
            ended = {"endedReason": call.document["endedReason"]} if status == "ended" else {}
            return {**common, "status": status, **ended}
        case "conversation-update":
            return {**common, "messages": call.document["artifact"].get("messages", [])}
        case _:
            return {**common, "status": "started", "role": "assistant", "turn": 1}
