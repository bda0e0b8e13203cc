"""The types of Vapi's server messages."""

from typing import Final

from consumers.messages import END_OF_CALL_REPORT

# Source: Vapi's OpenAPI document, `ServerMessage`, and the subscription enumeration beside it.
EXPECT_AN_ANSWER: Final = frozenset(
    (
        *("assistant-request", "tool-calls", "function-call", "transfer-destination-request"),
        *("handoff-destination-request", "knowledge-base-request", "voice-request"),
        *("call.endpointing.request", "campaign.predial"),
    )
)
KNOWN: Final = EXPECT_AN_ANSWER | frozenset(
    (
        *(END_OF_CALL_REPORT, "status-update", "hang", "conversation-update", "transcript"),
        *('transcript[transcriptType="final"]', "speech-update", "assistant.speechStarted", "model-output"),
        *("user-interrupted", "transfer-update", "voice-input", "language-change-detected", "language-changed"),
        *("phone-call-control", "chat.created", "chat.deleted", "session.created", "session.updated"),
        *("session.deleted", "call.deleted", "call.delete.failed", "call.artifact.upload", "assistant.started"),
    )
)
