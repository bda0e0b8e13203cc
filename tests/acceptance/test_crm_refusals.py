"""What `aftercall consume crm` says to settings with which no call could ever be logged."""

from pathlib import Path

import pytest

from tests.acceptance.conftest import Installation

TOKEN = "pat-simulated"


@pytest.mark.parametrize(
    ("toml", "environment", "told"),
    [
        ("", {}, "crm: no account has a token for HubSpot: set AFTERCALL_CRM_TOKEN"),
        ('[crm]\nregion = "XX"\n', {"AFTERCALL_CRM_TOKEN": TOKEN}, "[crm] region: XX is no country"),
        (
            '[crm.call_properties]\nscore = "call.x..y"\n',
            {"AFTERCALL_CRM_TOKEN": TOKEN},
            "aftercall.toml, line 2: crm.",
        ),
        ('[[crm.skip]]\npath = "facts.cost"\n', {"AFTERCALL_CRM_TOKEN": TOKEN}, "line 1: crm.skip[0]: compares with"),
        ("", {"AFTERCALL_CRM_RATE": "0"}, "AFTERCALL_CRM_RATE"),
    ],
)
async def test_what_can_never_be_logged_says_why_and_exits_with_64(
    installation: Installation, tmp_path: Path, toml: str, environment: dict[str, str], told: str
) -> None:
    (tmp_path / "aftercall.toml").write_text(toml)

    process = installation.start("consume", "crm", **({"AFTERCALL_SUBSCRIBERS": "crm"} | environment))

    assert await process.wait() == 64
    assert told in process.text()
