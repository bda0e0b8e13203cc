"""The calls as the API serves them: made anew from their seeds, with a bounded number of bodies kept at hand."""

from collections import OrderedDict

from worker.simulate.account import EndedCall, Stage
from worker.simulate.calls import SimulatedCall, expire_presigned, make_call, presign_anew, to_json
from worker.simulate.script.contents import JSON
from worker.simulate.script.outlines import iso
from worker.simulate.script.parties import stale_snapshot

_NOT_YET = ("cost", "costs", "costBreakdown", "analysis", "summary", "recordingUrl", "stereoRecordingUrl")
_NOT_YET_IN_ARTIFACT = ("recording", "structuredOutput", "stereoRecordingUrl", "presigned", "logUrl")
# Serials 0 to 2 belong to the document as it is made and to the webhooks.
_FIRST_SERIAL = 3


class Documents:
    """Serves calls as JSON; keeps at hand the final bodies used last, up to `capacity_bytes` of them."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._serial = _FIRST_SERIAL

    def make(self, ended: EndedCall) -> SimulatedCall:
        """Make a call anew from its outline, and keep its document at hand for the fetch that follows."""
        call = remake(ended)
        if call.id not in self._kept:
            self._keep(call.id, to_json({**call.document, "updatedAt": iso(ended.updated_at(float("inf")))}))
        return call

    def serve(self, ended: EndedCall, now: float) -> bytes:
        """Return the call as a GET at `now` (epoch seconds) shows it, with presigned URLs that no other answer has."""
        stage = ended.stage(now)
        body = self._final(ended) if stage is Stage.FINAL else to_json(early_view(remake(ended).document, ended, now))
        self._serial += 1
        presigned = presign_anew(body, ended.outline.id, was=0, now=self._serial)
        return expire_presigned(presigned, ended.outline.ended_at, now)

    def _final(self, ended: EndedCall) -> bytes:
        if ended.outline.id not in self._kept:
            self.make(ended)
        self._kept.move_to_end(ended.outline.id)
        return self._kept[ended.outline.id]

    def _keep(self, call_id: str, body: bytes) -> None:
        # A copy, for orjson's own bytes hold on to the whole buffer it wrote in, up to three times their length.
        self._kept[call_id] = bytes(memoryview(body))
        self._kept_bytes += len(body)
        while self._kept_bytes > self._capacity_bytes and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])


def remake(ended: EndedCall) -> SimulatedCall:
    """Make the call of an outline again, the same byte for byte."""
    outline = ended.outline
    surrogate = ended.faults.has_lone_surrogate
    return make_call(outline.seed, outline.number, outline.ended_at, outline.size_bytes, lone_surrogate=surrogate)


def early_view(document: JSON, ended: EndedCall, now: float) -> JSON:
    """Return a call as Vapi shows it too early: still in progress, or ended without cost, analysis and recording."""
    updated = {"updatedAt": iso(ended.updated_at(now))}
    if ended.stage(now) is Stage.IN_PROGRESS:
        started = {"startedAt": document["startedAt"]} if "startedAt" in document else {}
        return {**stale_snapshot(document), **started, **updated, "status": "in-progress"}
    artifact = {k: v for k, v in document["artifact"].items() if not k.startswith(_NOT_YET_IN_ARTIFACT)}
    there = {name: value for name, value in document.items() if name not in _NOT_YET}
    return {**there, "artifact": artifact, **updated}
