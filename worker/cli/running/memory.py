"""How much memory a process has in use, and may have."""

import asyncio
import os
from pathlib import Path
from typing import Final

from worker.operate.telemetry import MEMORY_MAX_BYTES, logger

LOOK_EVERY_S: Final = 2.0


async def outgrows(allowed_bytes: int) -> bool:
    """Wait until the process is larger than it may be, and tell so; it never is where nothing is the limit (0)."""
    MEMORY_MAX_BYTES.set(allowed_bytes)
    if not allowed_bytes:
        return False
    while (used := _resident_bytes()) <= allowed_bytes:  # noqa: ASYNC110  # nobody tells when memory was taken
        await asyncio.sleep(LOOK_EVERY_S)
    logger().warning("role.outgrown", used_bytes=used, allowed_bytes=allowed_bytes)
    return True


def _resident_bytes() -> int:
    """The memory that the process has in use; 0 where the system does not tell (it is Linux that does)."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
