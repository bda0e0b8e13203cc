"""The targets that calls are posted to."""
