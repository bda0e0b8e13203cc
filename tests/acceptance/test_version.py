from collections.abc import Callable
from importlib.metadata import version

from tests.processes import AFTERCALL, RunningProcess


async def test_the_command_tells_the_version_of_the_distribution(start_process: Callable[..., RunningProcess]) -> None:
    process = start_process(AFTERCALL, "--version")

    assert await process.wait() == 0
    assert process.text().strip() == version("aftercall")
