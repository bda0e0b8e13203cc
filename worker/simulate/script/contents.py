"""What a simulated call leaves behind: artifact, analysis and costs, in Vapi's field names."""

import hashlib
import random
from typing import Any

from worker.simulate.script.outlines import ORG_ID, Outline, happens, iso, random_id
from worker.simulate.script.speech import Assistant, Turn, transcript_of

JSON = dict[str, Any]

PRESIGNED_FOR_S = 3_600
_STORAGE = "https://storage.vapi.ai"
_PRIVATE_STORAGE = "https://private-storage.vapi.ai"
_CENTS_A_MINUTE = {"transport": 1.4, "transcriber": 0.98, "model": 1.43, "voice": 3.04, "vapi": 5.0}
_NORMAL_CLASSES = ("customer-ended", "assistant-ended", "transferred", "timed-out", "unknown")


def presigned_mark(call_id: str, serial: int) -> str:
    """Return the part of a presigned signature that is new in each response: `serial` counts them, from 0."""
    return hashlib.sha256(f"{call_id}/{serial}".encode()).hexdigest()[:32]


def write_artifact(rng: random.Random, outline: Outline, turns: tuple[Turn, ...], note: str) -> JSON:
    """Write the artifact of a call; one that nobody answered has an empty one."""
    if outline.started_at is None:
        return {"messages": [], "messagesOpenAIFormatted": [], "nodes": [], "variableValues": {}}
    return {
        "messages": _messages(outline, turns),
        "messagesOpenAIFormatted": _openai_messages(outline.assistant, turns),
        "transcript": transcript_of(turns) + note,
        **_recordings(rng, outline),
        "nodes": [],
        "variableValues": {"date": iso(outline.ended_at)[:10]},
        "performanceMetrics": _performance(rng),
        **_structured_outputs(rng, outline),
    }


def write_analysis(rng: random.Random, outline: Outline) -> JSON:
    """Write the analysis of a call that ended normally; a call that failed has none, now or later."""
    if outline.started_at is None or outline.ending.reason_class not in _NORMAL_CLASSES:
        return {}
    return {
        "summary": f"{outline.assistant.name} spoke with {outline.customer_name}, who wants a call back after 5 PM.",
        "structuredData": {"callbackRequested": happens(rng, 0.5), "doNotCall": happens(rng, 0.05)},
        "successEvaluation": rng.choice(("true", "false", "8", "Excellent")),
    }


def write_costs(outline: Outline) -> JSON:
    """Write `cost`, `costs` and `costBreakdown`, in USD; nothing is charged for a call that nobody answered."""
    if outline.started_at is None:
        return {"cost": 0, "costs": [], "costBreakdown": {"total": 0, "analysisCostBreakdown": {}}}
    minutes = round((outline.ended_at - outline.started_at) / 60, 4)
    costs: list[JSON] = [
        {"type": kind, "minutes": minutes, "cost": round(cents * minutes / 100, 6)}
        for kind, cents in _CENTS_A_MINUTE.items()
    ]
    total = round(sum(cost["cost"] for cost in costs), 4)
    breakdown = {cost["type"]: cost["cost"] for cost in costs}
    return {"cost": total, "costs": costs, "costBreakdown": {**breakdown, "total": total}}


def _messages(outline: Outline, turns: tuple[Turn, ...]) -> list[JSON]:
    begun_at = outline.started_at or outline.ended_at
    turn_s = (outline.ended_at - begun_at) / (len(turns) + 1)
    system: JSON = {"role": "system", "message": outline.assistant.prompt, "time": int(begun_at * 1000)}
    return [
        {**system, "secondsFromStart": 0},
        *(_message(outline, turn, begun_at, n, turn_s) for n, turn in enumerate(turns)),
    ]


def _message(outline: Outline, turn: Turn, begun_at: float, n: int, turn_s: float) -> JSON:
    since_s = round((n + 0.2) * turn_s, 3)
    when: JSON = {"time": int((begun_at + since_s) * 1000), "secondsFromStart": since_s}
    if turn.role == "tool_calls":
        return {"role": turn.role, "message": "", **when, "toolCalls": [_tool_call(outline.assistant, turn, n)]}
    if turn.role == "tool_call_result":
        named = {"name": outline.assistant.tool, "toolCallId": f"call_{n - 1}"}
        return {"role": turn.role, **named, "result": turn.text, **when}
    ended: JSON = {"endTime": when["time"] + int(turn_s * 700), "duration": int(turn_s * 700)}
    return {"role": turn.role, "message": turn.text, **when, **ended}


def _openai_messages(assistant: Assistant, turns: tuple[Turn, ...]) -> list[JSON]:
    system = {"role": "system", "content": assistant.prompt}
    return [system, *(_openai_message(assistant, turn, n) for n, turn in enumerate(turns))]


def _openai_message(assistant: Assistant, turn: Turn, n: int) -> JSON:
    if turn.role == "tool_calls":
        return {"role": "assistant", "content": None, "tool_calls": [_tool_call(assistant, turn, n)]}
    if turn.role == "tool_call_result":
        return {"role": "tool", "content": turn.text, "tool_call_id": f"call_{n - 1}"}
    return {"role": {"bot": "assistant"}.get(turn.role, turn.role), "content": turn.text}


def _tool_call(assistant: Assistant, turn: Turn, n: int) -> JSON:
    return {"id": f"call_{n}", "type": "function", "function": {"name": assistant.tool, "arguments": turn.text}}


def _recordings(rng: random.Random, outline: Outline) -> JSON:
    if outline.is_zero_data_retention:
        return {}
    mono, stereo = (f"{outline.id}-{random_id(rng)}-{kind}.wav" for kind in ("mono", "stereo"))
    return {
        "recordingUrl": f"{_STORAGE}/{mono}",
        "stereoRecordingUrl": f"{_STORAGE}/{stereo}",
        "recording": {"stereoUrl": f"{_STORAGE}/{stereo}", "mono": {"combinedUrl": f"{_STORAGE}/{mono}"}},
        "logUrl": f"https://calllogs.vapi.ai/{ORG_ID}/{outline.id}-call.jsonl.gz",
        "presignedMonoUrl": _presigned(rng, outline, mono),
        "presignedStereoUrl": _presigned(rng, outline, stereo),
        "presignedUrlsExpiresAt": iso(outline.ended_at + PRESIGNED_FOR_S),
    }


def _presigned(rng: random.Random, outline: Outline, file: str) -> str:
    signature = presigned_mark(outline.id, 0) + f"{rng.getrandbits(128):032x}"
    return f"{_PRIVATE_STORAGE}/{file}?X-Amz-Expires={PRESIGNED_FOR_S}&X-Amz-Signature={signature}"


def _performance(rng: random.Random) -> JSON:
    model, voice, endpointing = rng.randint(400, 1200), rng.randint(150, 420), rng.randint(240, 700)
    return {
        "modelLatencyAverage": model,
        "voiceLatencyAverage": voice,
        "endpointingLatencyAverage": endpointing,
        "turnLatencyAverage": model + voice + endpointing,
        "numUserInterrupted": rng.randint(0, 4),
    }


def _structured_outputs(rng: random.Random, outline: Outline) -> JSON:
    if not happens(rng, 0.3) or outline.ending.reason_class not in _NORMAL_CLASSES:
        return {}
    extracted = {"disclosedRecording": True, "score": rng.randint(1, 10)} if happens(rng, 0.9) else None
    outputs = {random_id(rng): {"name": "QA checklist", "result": extracted}}
    return {"structuredOutputs": outputs, "structuredOutputsLastUpdatedAt": iso(outline.ended_at)}
