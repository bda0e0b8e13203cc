"""The loss drill, shortened: two seeds of the adversary against real processes. `make drill` is the long form."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import RunningProcess

CALLS = 150
SECONDS = 14


@pytest.mark.parametrize("seed", [4, 9])
async def test_30_no_call_is_lost_whatever_the_adversary_does(
    seed: int, tmp_path: Path, start_process: Callable[..., RunningProcess]
) -> None:
    told = tmp_path / "account.json"
    numbers = ("--seed", str(seed), "--calls", str(CALLS), "--seconds", str(SECONDS), "--patience", "80")

    drill = start_process(sys.executable, "-m", "worker.simulate.drill", *numbers, "--json", str(told))

    try:
        code = await drill.wait(150)
    finally:
        await drill.terminate(40)  # nothing if it has ended; else it ends all that it started
    assert code == 0, drill.text()
    account = json.loads(told.read_bytes())
    assert account["ended"] == CALLS
    assert account["never_sent"], "the sweep had something to find"
    assert account["enriched"] == CALLS - account["unknowable"], drill.text()
    assert len(account["struck"]) >= 4
    assert not any(account[breach] for breach in ("lost", "missing", "unfinished", "not_in_ledger", "disguised"))
