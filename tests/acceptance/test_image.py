"""The image: tried by `make image`, which has just built it; that takes root, and a minute or two."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import aio_pika
import pytest
from yarl import URL

from tests.acceptance.conftest import Installation, Vapi, fresh_report, sample
from tests.composed import HERE, SERVICES
from tests.image import ROOT, Image
from tests.processes import RunningProcess
from worker.simulate.rabbitmq import Broker

pytestmark = pytest.mark.skipif("TRY_IMAGE" not in os.environ, reason="`make image` builds the image and tries it")
BUILD_TOOLS = ("pip", "pip3", "uv", "uv-build", "gcc", "cc", "make", "git")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 65532, 65532)
    return Image(volume)


@pytest.fixture
def start_in_image(image: Image, start_process: Callable[..., RunningProcess]) -> Callable[..., RunningProcess]:
    def start(*command: str, environment: dict[str, str] | None = None) -> RunningProcess:
        entered, around = image.command(*image.config["Entrypoint"], *command[1:], environment=environment or {})
        return start_process(*entered, environment=around)

    return start


@pytest.fixture
def contained(amqp_url: str, vapi: Vapi, start_in_image: Callable[..., RunningProcess]) -> Installation:
    """An installation of which each role is a process of the image."""
    return Installation(amqp_url, vapi.url, start_in_image)


def test_the_image_asks_for_a_numeric_user_and_starts_without_a_shell(image: Image) -> None:
    assert image.config["User"] == "65532:65532"
    assert image.config["Entrypoint"] == ["aftercall"]
    assert image.config["StopSignal"] == "SIGTERM"
    assert image.config["Healthcheck"]["Test"][0] == "CMD"
    assert image.config["Volumes"] == {"/var/lib/aftercall": {}}
    assert image.config["Labels"]["org.opencontainers.image.title"] == "aftercall"


def test_the_image_brings_no_tool_that_builds_or_installs() -> None:
    folders = [ROOT / "opt/aftercall/bin", *(ROOT / folder for folder in ("usr/local/bin", "usr/bin"))]

    found = [tool for folder in folders for tool in BUILD_TOOLS if (folder / tool).exists()]

    assert not found
    assert not list(ROOT.glob("opt/aftercall/lib/python*/site-packages/pip"))
    assert not (ROOT / "build").exists()


@pytest.mark.parametrize("command", [("--help",), ("--version",), ("config",), ("topology", "show")])
async def test_what_needs_no_broker_works_on_a_read_only_root(
    command: tuple[str, ...], contained: Installation
) -> None:
    process = contained.start(*command)

    assert await process.wait() == 0, process.text()


async def test_the_image_has_the_libraries_of_every_role(
    image: Image, start_process: Callable[..., RunningProcess]
) -> None:
    entered, around = image.command("python", "-c", "import apprise, phonenumbers, psycopg, uvloop", environment={})

    process = start_process(*entered, environment=around)

    assert await process.wait() == 0, process.text()


async def test_the_job_of_compose_makes_a_user_of_the_broker(
    image: Image, broker: Broker, amqp_url: str, start_process: Callable[..., RunningProcess]
) -> None:
    entrypoint = [Path(each) for each in SERVICES["broker-users"]["entrypoint"]]
    shutil.copy(HERE / "docker" / entrypoint.pop().name, image.volume)
    url = str(URL(amqp_url).with_user("aftercall-tail").with_password("a-password"))
    (image.volume / "amqp_url_tail").write_text(url)
    environment = {"AFTERCALL_AMQP_URL": amqp_url, "AFTERCALL_AMQP_MANAGEMENT_URL": broker.management_url or ""}
    applied, around = image.command("aftercall", "topology", "apply", environment=environment)
    assert await start_process(*applied, environment=around).wait() == 0
    entered, around = image.command(*map(str, entrypoint), "broker-users.py", ".", environment=environment)

    process = start_process(*entered, environment=around)

    assert await process.wait() == 0, process.text()
    await (await aio_pika.connect(url)).close()


async def test_a_call_travels_through_processes_of_the_image(contained: Installation, vapi: Vapi) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    endpoint = await contained.started("webhook")
    enricher = await contained.started("consume", "enrich")

    assert await contained.post(fresh_report("web")) == 200

    (message,) = await contained.take("calls.postcall")
    assert message.correlation_id == call["id"]
    assert [await process.terminate() for process in (endpoint, enricher)] == [0, 0]


async def test_what_comes_in_while_the_broker_is_away_lies_in_the_volume(contained: Installation, image: Image) -> None:
    contained.environment["AFTERCALL_AMQP_URL"] = "amqp://127.0.0.1:1/"
    endpoint = contained.start("webhook")
    await endpoint.wait_for_url(contained.probe("webhook", "readyz"))

    assert await contained.post(fresh_report("web")) == 200

    assert await endpoint.terminate() == 0
    assert [path for path in image.volume.rglob("*") if path.is_file()]


async def test_the_health_check_tells_a_process_that_works_from_one_that_does_not(
    contained: Installation, image: Image, start_process: Callable[..., RunningProcess]
) -> None:
    _, *check = image.config["Healthcheck"]["Test"]
    environment = {"AFTERCALL_ADMIN_PORT": contained.probe("webhook", "").split(":")[2].rstrip("/")}

    async def checked() -> int:
        entered, around = image.command(*check, environment=environment)
        return await start_process(*entered, environment=around).wait()

    assert await checked() == 1
    await contained.started("webhook")
    assert await checked() == 0
