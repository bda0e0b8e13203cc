"""`aftercall dead`: dead letters, grouped by cause; look at them, replay or discard them."""

from worker.cli.dead.commands import app

__all__ = ["app"]
