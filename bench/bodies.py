"""Bodies of a wanted size, made once: a report with a place for the call's id, and the call that fits it."""

import json
import random
from typing import Any, Final

PLACE: Final = b"@@@@@@@@-@@@@-@@@@-@@@@-@@@@@@@@@@@@"
WORDS: Final = (
    *("thanks", "for", "calling", "could", "you", "confirm", "the", "booking", "for", "tuesday", "at", "half"),
    *("past", "four", "yes", "please", "no", "problem"),
)


def report_of(size_bytes: int) -> bytes:
    """A webhook's body of about that size, with `PLACE` for the call's id."""
    message = {"type": "end-of-call-report", "timestamp": 1767607872345, "endedReason": "customer-ended-call"}
    return _grown(lambda told: {"message": message | told | {"call": {"id": PLACE.decode()}}}, size_bytes)


def call_of(size_bytes: int) -> bytes:
    """The answer to `GET /call/<id>` for it."""
    call = {"id": PLACE.decode(), "type": "inboundPhoneCall", "status": "ended", "cost": 0.43}
    return _grown(lambda told: call | told | {"endedReason": "customer-ended-call"}, size_bytes)


def _grown(document: Any, size_bytes: int) -> bytes:
    rng = random.Random(7)
    turns: list[dict[str, Any]] = []
    told = {
        "startedAt": "2026-01-05T10:11:14.345Z",
        "endedAt": "2026-01-05T10:16:12.345Z",
        "analysis": {"summary": " ".join(rng.choices(WORDS, k=60)), "successEvaluation": "true"},
        "artifact": {"messages": turns, "recordingUrl": "https://storage.example.com/0.wav"},
    }
    size = len(_json(document(told)))
    while size < size_bytes - 200:
        text = " ".join(rng.choices(WORDS, k=18))
        turns.append({"role": "user", "message": text, "time": 1.7e12, "secondsFromStart": 3.2, "duration": 2980})
        size += len(_json(turns[-1])) + 1
    return _json(document(told))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
