"""What the end of one role means to its process."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from worker.cli.running.process import Process
from worker.settings import load


async def ends(error: BaseException) -> None:
    raise error


async def lasts() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), asyncio.CancelledError("the connection was closed")])
async def test_a_role_that_fails_or_is_cancelled_though_nobody_cancelled_it_ends_the_process_as_failed(
    error: BaseException,
) -> None:
    with capture_logs() as logs:
        async with AsyncExitStack() as stack, asyncio.timeout(5):
            process = Process(load({}), stack, [])
            process.run(ends(error), "sweep")
            await process.stopping.wait()

    assert process.has_failed
    assert [(line["event"], line["part"]) for line in logs] == [("role.failed", "sweep")]


async def test_a_role_that_the_process_cancels_at_its_end_has_not_failed() -> None:
    async with AsyncExitStack() as stack:
        process = Process(load({}), stack, [])
        process.run(lasts(), "sweep")

    assert not process.has_failed
    assert not process.stopping.is_wanted
