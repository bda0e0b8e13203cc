"""The role `alerts`: the consumer, and the one process that tells."""
