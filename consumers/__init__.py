"""The consumers decide: what happens to a message, as plain functions and frozen records.

The way of a call through this folder: `messages` (THE CONTRACT) and `notifications`, then `enrich` with `merge`,
`readiness`, `redaction` and `ended_reasons`, out as `enriched`; what becomes of the delivery is in `settling`.
"""
