"""What became of a call, told from Vapi's `endedReason`.

Vapi lists some 600 reasons, adds new ones almost weekly and renames others, so they are read by ordered rules rather
than looked up: the first rule that matches gives the class, and the class gives the result.
Source: the `endedReason` enumeration of Vapi's OpenAPI document, and its page on call end reasons.
"""

import re
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

Result = Literal["completed", "unreached", "failed", "unknown"]
UNKNOWN: Final = "unknown"

RULES: Final[tuple[tuple[str, Result, tuple[str, ...]], ...]] = (
    ("voicemail", "unreached", (r"^voicemail$",)),
    (
        "no-answer",
        "unreached",
        (
            r"^(customer-did-not-answer|customer-busy|twilio-reported-customer-misdialed|vonage-rejected)$",
            r"^call\.in-progress\.error-providerfault-outbound-sip-(408|480)-",
        ),
    ),
    (
        "transferred",
        "completed",
        (
            r"^(assistant-forwarded-call|assistant-request-returned-forwarding-phone-number)$",
            r"^call\.(ringing|ending)\.hook-executed-transfer$",
        ),
    ),
    (
        "transfer-failed",
        "failed",
        (r"transfer-failed|warm-transfer|customer-ended-call-during-transfer", r"^call\.forwarding\."),
    ),
    (
        "customer-ended",
        "completed",
        (
            r"^(customer-ended-call|vonage-completed)$",
            r"^call\.ringing\.sip-inbound-caller-hungup-before-call-connect$",
            r"^call\.in-progress\.(twilio|sip)-completed-call$",
        ),
    ),
    (
        "assistant-ended",
        "completed",
        (r"^assistant-(ended-call|said-end-call-phrase)", r"^call\.(ringing|ending)\.hook-executed-say$"),
    ),
    ("timed-out", "completed", (r"^(silence-timed-out|exceeded-max-duration)$",)),
    (
        "no-audio",
        "unreached",
        (
            r"^customer-did-not-give-microphone-permission$",
            r"^call\.in-progress\.error-assistant-did-not-receive-customer-audio$",
        ),
    ),
    ("canceled", "unreached", (r"^(manually-canceled|scheduled-call-deleted|call-deleted)$",)),
    ("start-error", "failed", (r"^(call\.start\.|call-start-error|assistant-not-|assistant-request-)",)),
    ("provider-error", "failed", (r"^call\.in-progress\.error-providerfault-(?!transport|outbound-sip)",)),
    ("pipeline-error", "failed", (r"^(pipeline-|call\.in-progress\.error-pipeline-)",)),
    ("transport-error", "failed", (r"transport|sip", r"^(twilio|vonage|phone-call-provider)-")),
    ("platform-error", "failed", (r"vapifault", r"^(worker-shutdown|assistant-join-timed-out)")),
)
_COMPILED: Final = tuple((reason, result, re.compile("|".join(patterns))) for reason, result, patterns in RULES)


class Outcome(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a call: the result, the class of its reason, and Vapi's own word."""

    result: Result
    reason: str
    ended_reason: str | None


def outcome_of(ended_reason: Any) -> Outcome:
    """The outcome of an `endedReason`; one that is missing or new is `unknown`, and passed on as it is."""
    if not isinstance(ended_reason, str):
        return Outcome("unknown", UNKNOWN, None)
    return _classify(ended_reason)


@lru_cache(maxsize=2048)
def _classify(ended_reason: str) -> Outcome:
    for reason, result, pattern in _COMPILED:
        if pattern.search(ended_reason):
            return Outcome(result, reason, ended_reason)
    return Outcome("unknown", UNKNOWN, ended_reason)
