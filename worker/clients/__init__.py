"""The systems we talk to."""
