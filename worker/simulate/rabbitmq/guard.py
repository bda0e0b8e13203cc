"""Cleaning up after ourselves even when we are killed."""

import asyncio
import contextlib
import subprocess


class Guard:
    """A shell script whose standard input ends when our process does, by whatever signal; it cleans up then.

    What it needs to know is told to it line by line. It has a session of its own, so that a Ctrl-C meant for us does
    not end it first.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  a script of ours
            ["/bin/sh", "-c", script, "guard", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def tell(self, line: str) -> None:
        """Send one line to the script; one that somebody ended hears nothing."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()

    async def release(self) -> None:
        """Let the script clean up now, and wait until it has."""
        await asyncio.to_thread(self._process.communicate)
