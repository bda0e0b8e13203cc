"""Running the commands of the system."""

import asyncio
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping


async def run(*command: str, within_s: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed, stderr included.

    Raises `subprocess.CalledProcessError`, with that output, if it failed or is not installed; `TimeoutError` if it did
    not end in time: it is killed then.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=environment
        )
    except FileNotFoundError as error:
        raise subprocess.CalledProcessError(127, command, str(error)) from error
    output = (await _output_of(process, within_s)).decode(errors="replace")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return output


async def _output_of(process: asyncio.subprocess.Process, within_s: float) -> bytes:
    try:
        return (await asyncio.wait_for(process.communicate(), within_s))[0]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def succeeds(*command: str, within_s: float) -> bool:
    """Whether a command is there and ends well in time."""
    try:
        await run(*command, within_s=within_s)
    except (subprocess.CalledProcessError, TimeoutError):
        return False
    return True
