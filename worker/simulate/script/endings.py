"""The ways in which simulated calls end: every class of endedReason, about as often as a busy account sees it."""

import random
from dataclasses import dataclass
from itertools import accumulate

INBOUND = "inboundPhoneCall"
OUTBOUND = "outboundPhoneCall"
WEB = "webCall"
PHONE = (INBOUND, OUTBOUND)
ANY = (INBOUND, OUTBOUND, WEB)


@dataclass(frozen=True, slots=True)
class Ending:
    """One way in which a call ends: Vapi's endedReason, its class, its share of all calls and what goes with it."""

    reason: str
    reason_class: str
    weight: float
    call_types: tuple[str, ...] = ANY
    is_answered: bool = True
    ended_message: str = ""


ENDINGS = (
    Ending("customer-ended-call", "customer-ended", 33),
    Ending("call.in-progress.twilio-completed-call", "customer-ended", 3, PHONE),
    Ending("assistant-ended-call", "assistant-ended", 22),
    Ending("assistant-said-end-call-phrase", "assistant-ended", 4),
    Ending("assistant-forwarded-call", "transferred", 5, PHONE),
    Ending("silence-timed-out", "timed-out", 3),
    Ending("exceeded-max-duration", "timed-out", 1),
    Ending("voicemail", "voicemail", 8, (OUTBOUND,)),
    Ending("customer-did-not-answer", "no-answer", 6, (OUTBOUND,), is_answered=False),
    Ending("customer-busy", "no-answer", 3, (OUTBOUND,), is_answered=False),
    Ending("customer-did-not-give-microphone-permission", "no-audio", 1, (WEB,), is_answered=False),
    Ending("call.in-progress.error-assistant-did-not-receive-customer-audio", "no-audio", 1),
    Ending("manually-canceled", "canceled", 1, (OUTBOUND,), is_answered=False),
    Ending("scheduled-call-deleted", "canceled", 0.5, (OUTBOUND,), is_answered=False),
    Ending("call.forwarding.operator-busy", "transfer-failed", 1, PHONE),
    Ending("call.in-progress.error-warm-transfer-max-duration", "transfer-failed", 0.5, PHONE),
    Ending(
        "call.start.error-subscription-concurrency-limit-reached",
        "start-error",
        1,
        is_answered=False,
        ended_message="Over the concurrency limit of 10 lines.",
    ),
    Ending("assistant-request-failed", "start-error", 0.5, (INBOUND,), is_answered=False),
    Ending(
        "call.in-progress.error-providerfault-openai-llm-failed",
        "provider-error",
        1,
        ended_message="openai: upstream returned 503 after 3 attempts",
    ),
    Ending("call.in-progress.error-providerfault-eleven-labs-500-server-error", "provider-error", 0.5),
    Ending("pipeline-error-openai-llm-failed", "pipeline-error", 0.7),
    Ending("pipeline-error-eleven-labs-503-server-error", "pipeline-error", 0.5),
    Ending("phone-call-provider-closed-websocket", "transport-error", 0.7, PHONE),
    Ending("twilio-failed-to-connect-call", "transport-error", 0.5, (OUTBOUND,), is_answered=False),
    Ending("call.in-progress.error-vapifault-openai-transcriber-failed", "platform-error", 0.7),
    Ending("worker-shutdown", "platform-error", 0.3),
    Ending("call.ended-by-quiet-hours-hook", "unknown", 0.4),
    Ending("assistant-paused-for-review", "unknown", 0.3),
)
_CUMULATIVE_WEIGHTS = tuple(accumulate(ending.weight for ending in ENDINGS))


def draw_ending(rng: random.Random) -> Ending:
    """Choose how a call ends, by weight."""
    return rng.choices(ENDINGS, cum_weights=_CUMULATIVE_WEIGHTS)[0]
