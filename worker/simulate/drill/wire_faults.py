"""What can happen on the way between our processes and the broker, and to the disk that stands in for it."""

import asyncio
import time
from typing import Final

from worker.simulate.drill.stage import Stage

CUT_EVERY_S: Final = 0.7


async def cut(stage: Stage, lasts_s: float) -> None:
    """Every connection is reset, again and again."""
    until = time.monotonic() + lasts_s
    while time.monotonic() < until:
        for wire in stage.wires:
            wire.cut()
        await asyncio.sleep(CUT_EVERY_S)


async def cut_before_ack(stage: Stage, lasts_s: float) -> None:
    """What is sent to the broker arrives, no answer comes back, and then the connections are reset."""
    for wire in stage.wires:
        wire.stall("down")
    await asyncio.sleep(lasts_s)
    await _reset(stage)


async def black_hole(stage: Stage, lasts_s: float) -> None:
    """Nothing passes in either direction, without a sign of it; then everything that waited does."""
    for wire in stage.wires:
        wire.stall()
    await asyncio.sleep(lasts_s)
    for wire in stage.wires:
        wire.resume()


async def half_open(stage: Stage, lasts_s: float) -> None:
    """The broker has lost the connections, and our processes do not know."""
    for wire in stage.wires:
        wire.half_open()
    await asyncio.sleep(lasts_s)
    await _reset(stage)


async def fill_disk(stage: Stage, lasts_s: float) -> None:
    """The endpoint has neither the broker nor room on its disk: it must refuse, and lose nothing it answered for."""
    await asyncio.to_thread(stage.disk.fill)
    stage.endpoint_wire.stall()
    await asyncio.sleep(lasts_s)
    stage.disk.free()
    stage.endpoint_wire.resume()


async def _reset(stage: Stage) -> None:
    for wire in stage.wires:
        wire.cut()
        wire.resume()
