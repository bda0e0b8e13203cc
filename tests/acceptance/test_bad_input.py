"""What a machine can be that an installation is put on: each a clear sentence, and the right probe or exit code."""

import subprocess
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from tests.acceptance.conftest import Installation, Vapi, report
from tests.processes import RunningProcess
from tests.serving import listening

# Root may read and write anything, unless these are taken from it.
MORTAL = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


async def test_a_secret_file_that_may_not_be_read_is_a_clear_sentence(
    installation: Installation, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o000)
    del installation.environment["AFTERCALL_VAPI_API_KEY"]
    process = installation.start_as(*MORTAL, command=("consume", "enrich"), AFTERCALL_VAPI_API_KEY_FILE=str(key))

    assert await process.wait() == 64
    assert f"AFTERCALL_VAPI_API_KEY_FILE: {key} cannot be read: Permission denied" in process.text()


async def test_an_admin_port_in_use_is_a_clear_sentence_too(installation: Installation) -> None:
    await installation.started("webhook")
    second = installation.start("webhook", AFTERCALL_WEBHOOK_PORT="0")

    assert await second.wait() == 64
    assert "AFTERCALL_ADMIN_PORT: another process listens on port " in second.text()


@pytest.mark.parametrize("role", ["ledger", "postcall"])
async def test_a_database_on_a_read_only_file_system_is_a_clear_sentence(
    role: str, installation: Installation, small_disk: Path
) -> None:
    remount(small_disk, "ro")
    key = "AFTERCALL_LEDGER_URL" if role == "ledger" else "AFTERCALL_ARCHIVE_URL"
    process = installation.start("consume", role, **{key: f"sqlite:///{small_disk}/data/calls.db"})

    assert await process.wait() == 64
    assert f"{key}: {small_disk}/data cannot be made (Read-only file system)" in process.text()
    assert "Traceback" not in process.text()


async def test_a_clock_that_is_an_hour_off_is_found_by_the_doctor(installation: Installation, vapi: Vapi) -> None:
    async def in_an_hour(request: web.Request) -> web.Response:
        answer = await vapi.answer(request)
        answer.headers["Date"] = formatdate(time.time() + 3600, usegmt=True)
        return answer

    app = web.Application()
    app.router.add_get("/call", in_an_hour)
    async with listening(app) as url:
        settings = {"AFTERCALL_WEBHOOK_AUTH": "hmac", "AFTERCALL_VAPI_BASE_URL": url}
        tolerant, strict = (
            installation.start("doctor", **settings),
            installation.start("doctor", **settings, AFTERCALL_WEBHOOK_HMAC_TOLERANCE_S="300"),
        )

        await tolerant.wait()
        assert "WARN  clock" in tolerant.text()
        assert " behind Vapi's: deadlines and ages are off" in tolerant.text()
        assert await strict.wait() == 1
        assert "off, and signed webhooks are refused beyond 300 s" in strict.text()
        assert "mend: synchronise it: timedatectl set-ntp true" in strict.text()


async def test_without_a_name_service_a_role_waits_and_says_whose_name_it_is(
    amqp_url: str, vapi: Vapi, start_process: Callable[..., RunningProcess], tmp_path: Path
) -> None:
    installation = Installation(amqp_url, vapi.url, start_process)
    address = tmp_path / "amqp_url"
    address.write_text("amqp://u:p@broker.invalid/")
    del installation.environment["AFTERCALL_AMQP_URL"]
    enricher = installation.start("consume", "enrich", AFTERCALL_AMQP_URL_FILE=str(address))
    endpoint = installation.start("webhook", AFTERCALL_AMQP_URL_FILE=str(address))

    for process, role, status in ((enricher, "consume", 503), (endpoint, "webhook", 200)):
        await process.wait_for_line("the broker's name does not resolve: check AFTERCALL_AMQP_URL and DNS")
        await process.wait_for_url(installation.probe(role, "livez"))
        await process.wait_for_url(installation.probe(role, "readyz"), status=status)
    address.write_text(installation.amqp_url)

    await enricher.wait_for_url(installation.probe("consume", "readyz"))


async def test_a_vapi_whose_name_does_not_resolve_is_an_outage_with_its_reason(installation: Installation) -> None:
    installation.environment["AFTERCALL_VAPI_BASE_URL"] = "http://vapi.invalid"
    await installation.started("webhook")
    enricher = await installation.started("consume", "enrich")
    await installation.post(report("web"))

    await enricher.wait_for_line("Cannot connect to host vapi.invalid:80.*breaker.opened")
    doctor = installation.start("doctor")
    assert await doctor.wait() == 1
    assert "vapi.invalid cannot be reached: Cannot connect to host vapi.invalid:80" in doctor.text()
    assert "BASE_URL, DNS and proxies" in doctor.text()
