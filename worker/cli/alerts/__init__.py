"""Alerts: the consumer, the one process that tells, and the commands."""
