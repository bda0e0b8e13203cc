"""`aftercall calls`, `export` and `replay`: what the archive has, looked at, taken out, and sent again."""

from worker.cli.calls.commands import app

__all__ = ["app"]
