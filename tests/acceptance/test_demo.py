"""The README's first command."""

from collections.abc import Callable

from tests.processes import AFTERCALL, RunningProcess


async def test_the_demo_adds_up(start_process: Callable[..., RunningProcess], amqp_url: str) -> None:
    process = start_process(AFTERCALL, "demo", environment={"AFTERCALL_AMQP_URL": amqp_url})

    assert await process.wait(150) == 0, process.text()

    assert "--faults everything=" in process.text()
    assert "it adds up" in process.text()
    for name in ("ledger", "postcall", "crm", "forward", "alerts"):
        assert f"reached {name}" in process.text()
