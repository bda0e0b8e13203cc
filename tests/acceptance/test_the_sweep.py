import re
import time

from tests.acceptance.conftest import KEY, Installation
from tests.processes import eventually
from worker.simulate.faults import Faults
from worker.simulate.vapi import SimulatedVapi, SimulatorSettings

SWEEP = {"AFTERCALL_SWEEP_GRACE_S": "1"}


def sign(_method: str, _url: str, _body: bytes) -> dict[str, str]:
    return {"Authorization": "Bearer acceptance-secret"}


def simulator(installation: Installation, count: int, faults: str) -> SimulatedVapi:
    return SimulatedVapi(
        SimulatorSettings(
            api_key=KEY,
            webhook_url=installation.endpoint,
            signer=sign,
            rate=100,
            count=count,
            size_bytes=8000,
            faults=Faults.parse(faults),
            time_scale=0.1,
        )
    )


async def out_of_grace(simulated: SimulatedVapi) -> None:
    """Wait until the youngest call is older than the grace: the sweep leaves younger ones to the next."""
    youngest = max(call.outline.ended_at for call in simulated.account.calls.values())
    await eventually(lambda: time.time() > youngest + 1.5)


async def enriched_in(installation: Installation, found: list[str], count: int) -> bool:
    found.extend(str(message.correlation_id) for message in await installation.take("calls.postcall", 0))
    return len(set(found)) >= count


async def test_calls_whose_webhooks_never_came_are_found_by_one_sweep_and_none_is_emitted_twice(
    installation: Installation,
) -> None:
    installation.environment |= SWEEP
    await installation.started("webhook")
    async with simulator(installation, 300, "dropped=0.3") as simulated:
        installation.environment["AFTERCALL_VAPI_BASE_URL"] = simulated.url
        await installation.started("consume", "enrich", "ledger")
        await simulated.finish()
        sent = {call.outline.id for call in simulated.account.calls.values() if call.planned}
        assert 150 < len(sent) < 280
        found: list[str] = []
        await eventually(lambda: enriched_in(installation, found, len(sent)))
        assert set(found) == sent

        await out_of_grace(simulated)
        first = installation.start("sweep", "--once", AFTERCALL_ADMIN_PORT="0")
        assert await first.wait() == 0

        await eventually(lambda: enriched_in(installation, found, 300))
        assert set(found) == simulated.account.calls.keys()
        assert f'"unaccounted":{300 - len(sent)}' in first.text()
        second = installation.start("sweep", "--once", AFTERCALL_ADMIN_PORT="0")
        assert await second.wait() == 0
        assert '"unaccounted":0' in second.text()
        assert len(found) == 300, "a known call is never emitted again"


async def test_several_sweepers_at_once_do_no_harm(installation: Installation) -> None:
    installation.environment |= SWEEP
    await installation.started("webhook")
    async with simulator(installation, 60, "dropped=1") as simulated:
        installation.environment["AFTERCALL_VAPI_BASE_URL"] = simulated.url
        await installation.started("consume", "enrich", "ledger")
        await simulated.finish()
        await out_of_grace(simulated)
        sweepers = [installation.start("sweep", "--once", AFTERCALL_ADMIN_PORT="0") for _ in range(3)]
        assert [await sweeper.wait() for sweeper in sweepers] == [0, 0, 0]

        found: list[str] = []
        await eventually(lambda: enriched_in(installation, found, 60))
        assert set(found) == simulated.account.calls.keys()


async def test_while_the_ledger_is_behind_nothing_is_swept_and_no_gauge_says_that_all_is_well(
    installation: Installation,
) -> None:
    installation.environment |= SWEEP
    async with simulator(installation, 5, "dropped=1") as simulated:
        installation.environment["AFTERCALL_VAPI_BASE_URL"] = simulated.url
        await simulated.finish()
        sweeper = await installation.started("sweep")

        await sweeper.wait_for_line("the ledger is behind")

        metrics = await sweeper.wait_for_url(installation.probe("sweep", "metrics"))
        assert not re.search(rb"^aftercall_calls_unaccounted\{", metrics, re.MULTILINE)
        assert await installation.depth("calls.enrich.default") == 0


async def test_a_wrong_duration_is_a_usage_error(installation: Installation) -> None:
    sweeper = installation.start("sweep", "--since", "yesterday")

    assert await sweeper.wait() == 64
    assert "such as 24h" in sweeper.text()
