"""Synthetic calls: the same arguments make the same call, byte for byte, in every process."""

import json
import random
from dataclasses import dataclass
from typing import Any

import orjson

from worker.simulate.script.contents import (
    JSON,
    PRESIGNED_FOR_S,
    presigned_mark,
    write_analysis,
    write_artifact,
    write_costs,
)
from worker.simulate.script.outlines import Outline, happens, iso, outline_call, stream
from worker.simulate.script.parties import stale_snapshot, write_identity, write_parties
from worker.simulate.script.speech import converse

_LONE_SURROGATE = "\ud83d"
_LONE_SURROGATE_SHARE = 0.002
_REPORT_FRAME_BYTES = 5_300
_PROMPT_COPIES = 4
_COPIED_FROM_ARTIFACT = ("transcript", "messages", "recordingUrl", "stereoRecordingUrl")
_NEVER_STORED = (*_COPIED_FROM_ARTIFACT, "summary")
_STORED_ARTIFACT = ("performanceMetrics",)
_WEBHOOK_SERIAL = 1


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """A call that ended: what `GET /call/<id>` says of it in the end, and the webhook that tells of it.

    `ended_at` is epoch seconds; `report` is the compact body of the end-of-call-report. `document` may hold a lone
    surrogate, which orjson refuses: serialise it with `to_json`.
    """

    id: str
    ended_at: float
    outline: Outline
    document: JSON
    report: bytes

    @property
    def is_zero_data_retention(self) -> bool:
        """The account stores no content: the document lacks what the report has."""
        return self.outline.is_zero_data_retention

    @property
    def repeated_report(self) -> bytes:
        """The same report as Vapi would send it a second time: other presigned URLs, hence other bytes."""
        return presign_anew(self.report, self.id, was=_WEBHOOK_SERIAL, now=_WEBHOOK_SERIAL + 1)


def make_call(
    seed: int, number: int, ended_at: float, size_bytes: int | None = None, *, lone_surrogate: bool = False
) -> SimulatedCall:
    """Make call `number` of a seed, which ended at `ended_at` (epoch seconds).

    `size_bytes` is about the size of the report of an answered call (from some 8 KB up); a call that nobody answered
    is a few KB whatever was asked for. `lone_surrogate` puts half an emoji into it, as one call in 500 has anyway.
    """
    outline = outline_call(seed, number, ended_at, size_bytes)
    rng = stream(seed, number, "contents")
    has_surrogate = happens(rng, _LONE_SURROGATE_SHARE) or lone_surrogate
    identity = write_identity(rng, outline, _LONE_SURROGATE if has_surrogate else "")
    contents = _contents(rng, outline, _LONE_SURROGATE if has_surrogate else "")
    report = presign_anew(to_json(_report(outline, identity, contents)), outline.id, was=0, now=_WEBHOOK_SERIAL)
    return SimulatedCall(outline.id, outline.ended_at, outline, _document(outline, identity, contents), report)


def to_json(document: JSON) -> bytes:
    """Serialise compactly, as Vapi does: non-ASCII text as UTF-8, a lone surrogate as its escape."""
    try:
        return orjson.dumps(document)
    except TypeError:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="backslashreplace")


def presign_anew(body: bytes, call_id: str, *, was: int, now: int) -> bytes:
    """Give a serialised call the presigned URLs of response `now` instead of those of response `was`."""
    return body.replace(presigned_mark(call_id, was).encode(), presigned_mark(call_id, now).encode())


def expire_presigned(body: bytes, ended_at: float, now: float) -> bytes:
    """Let the presigned URLs of a serialised call count from `now` instead of from its end (epoch seconds)."""
    key = b'"presignedUrlsExpiresAt":"'
    return body.replace(key + iso(ended_at + PRESIGNED_FOR_S).encode(), key + iso(now + PRESIGNED_FOR_S).encode(), 1)


def _contents(rng: random.Random, outline: Outline, note: str) -> JSON:
    budget_bytes = outline.size_bytes - _REPORT_FRAME_BYTES - _PROMPT_COPIES * len(outline.assistant.prompt)
    turns = converse(rng, outline.assistant, budget_bytes) if outline.ending.is_answered else ()
    analysis = write_analysis(rng, outline)
    artifact = write_artifact(rng, outline, turns, f"User: {note}\n" if note else "")
    copied = {name: artifact[name] for name in _COPIED_FROM_ARTIFACT if name in artifact}
    summary = {"summary": analysis["summary"]} if analysis else {}
    return {"analysis": analysis, "artifact": artifact, **copied, **summary, **write_costs(outline)}


def _ending(outline: Outline) -> JSON:
    ending: JSON = {"endedReason": outline.ending.reason, "endedAt": iso(outline.ended_at)}
    if outline.started_at is not None:
        ending["startedAt"] = iso(outline.started_at)
    if outline.ending.reason_class == "transferred":
        ending["destination"] = {"type": "number", "number": "+15035550190", "description": "On-call desk"}
    return ending


def _document(outline: Outline, identity: JSON, contents: JSON) -> JSON:
    message = {"endedMessage": outline.ending.ended_message} if outline.ending.ended_message else {}
    ended = {"updatedAt": iso(outline.ended_at), "status": "ended", **_ending(outline), **message}
    return {**identity, **ended, **_stored(outline, contents), "assistantVersion": None}


def _stored(outline: Outline, contents: JSON) -> JSON:
    if not outline.is_zero_data_retention:
        # The API has no second copy of the messages; the webhook has.
        return {name: value for name, value in contents.items() if name != "messages"}
    kept = {name: value for name, value in contents.items() if name not in _NEVER_STORED}
    artifact = {name: contents["artifact"][name] for name in _STORED_ARTIFACT}
    return {**kept, "analysis": {}, "artifact": artifact}


def _report(outline: Outline, identity: JSON, contents: JSON) -> JSON:
    message: dict[str, Any] = {
        "timestamp": round(outline.ended_at * 1000),
        "type": "end-of-call-report",
        **contents,
        **_ending(outline),
        **_duration(outline),
        "call": stale_snapshot(identity),
        **write_parties(outline, identity),
    }
    return {"message": message}


def _duration(outline: Outline) -> JSON:
    if outline.started_at is None:
        return {}
    duration_s = round(outline.ended_at - outline.started_at, 3)
    return {"durationMs": round(duration_s * 1000), "durationSeconds": duration_s}
