"""The consumers decide: what happens to a message, as plain functions and frozen records.

The way of a call through this folder: `messages` (THE CONTRACT) and `notifications`, then `enrich` with `merge`,
`readiness`, `redaction` and `ended_reasons`, out as `enriched`; what becomes of the delivery is in `settling`.

What a subscriber of yours needs is here: a handler takes an `EnrichedCall`, and may raise `Retry` or `Reject`.
"""

from consumers.enriched import EnrichedCall, decode_call
from consumers.facts import Facts, facts_of
from consumers.messages import Delivery
from consumers.outcomes import Reject, Retry

__all__ = ["Delivery", "EnrichedCall", "Facts", "Reject", "Retry", "decode_call", "facts_of"]
