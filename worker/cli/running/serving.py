"""Running roles until they are told to stop."""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Final

import uvloop

from worker.cli.exit_codes import BUG, DONE, TRY_AGAIN
from worker.cli.running.process import Process
from worker.operate import tracing
from worker.operate.telemetry import ROLE_INFO, logger, start_telemetry
from worker.settings import Settings

Start = Callable[[Process], Awaitable[None]]
END_S: Final = 1.0


def run(settings: Settings, roles: Mapping[str, Start], users: Iterable[str] | None = None) -> int:
    """Run the roles, with the rights of `users`, or of each role's own; the exit code."""
    start_telemetry()
    tracing.start_tracing(_service_of(roles))
    return uvloop.run(_serve(settings, roles, roles if users is None else users))


async def _serve(settings: Settings, roles: Mapping[str, Start], users: Iterable[str]) -> int:
    """Run the roles, which have the rights of `users`, until SIGTERM or SIGINT; a second signal ends it at once."""
    # Left in the opposite order: stop listening, finish requests, finish deliveries, close the broker's sessions, and
    # only then the probes, which say "not ready" all the while.
    async with AsyncExitStack() as stack:
        process = Process(settings, stack, users)
        await process.serve_probes()
        for name, start in roles.items():
            await start(process)
            ROLE_INFO.labels(name).set(1)
        process.run(process.watch_memory(), "watch of the memory")
        process.has_started = True
        _keep_what_is_there()
        logger().info("role.started", roles=list(roles), accounts=[each.name for each in settings.accounts])
        await process.stopping.wait()
        logger().info("role.stopping", grace_s=settings.grace_s)
    logger().info("role.stopped")
    code = BUG if process.has_failed else TRY_AGAIN if process.has_outgrown else DONE
    if await _is_held_up():
        os._exit(code)
    return code


def _keep_what_is_there() -> None:
    """Have the garbage collector look at what is new only: what is there once a role has started stays."""
    gc.collect()
    gc.freeze()


def _service_of(roles: Mapping[str, Start]) -> str:
    """What tracing calls this process: each role is a service of its own."""
    only = next(iter(roles)) if len(roles) == 1 else ""
    return f"aftercall-{only.replace(':', '.')}" if only else "aftercall"


async def _is_held_up() -> bool:
    """Whether something that does not let itself be cancelled would hold up the end: a handler of the user's."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    threads = asyncio.ensure_future(asyncio.get_running_loop().shutdown_default_executor())
    _, pending = await asyncio.wait([*others, threads], timeout=END_S)
    return bool(pending)
