"""docker-compose.yml without Docker: its secrets, the broker's settings, and the users of its services."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aio_pika
import aiohttp
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ProbableAuthenticationError
from yarl import URL

from tests.acceptance.conftest import KEY, SECRET, Vapi, report, sample
from tests.composed import HERE, SERVICES, Mounted, make_secrets
from tests.processes import AFTERCALL, PATIENCE_S, RunningProcess
from worker.simulate.rabbitmq import PrivateNode, free_ports

ROLES = ("endpoint", "enricher", "ledger", "postcall", "tail")


class Composed:
    """The services as processes, on a broker that was made as the file says."""

    def __init__(self, node: PrivateNode, vapi: Vapi, secrets: Path, start: Callable[..., RunningProcess]) -> None:
        self._secrets = secrets
        self._start = start
        self.ports = dict(zip(("webhook", *ROLES), free_ports(len(ROLES) + 1), strict=True))
        here = {
            "AFTERCALL_ADMIN_HOST": "127.0.0.1",
            "AFTERCALL_AMQP_MANAGEMENT_URL": str(URL(node.management_url or "").with_user(None)),
            "AFTERCALL_VAPI_BASE_URL": vapi.url,
            "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
            "AFTERCALL_WEBHOOK_PORT": str(self.ports["webhook"]),
        }
        self._services = Mounted(secrets, here)

    def start(self, name: str, *instead: str) -> RunningProcess:
        environment = self._services.environment_of(name)
        if name in self.ports:
            environment["AFTERCALL_ADMIN_PORT"] = str(self.ports[name])
        return self._start(AFTERCALL, *(instead or SERVICES[name]["command"]), environment=environment)

    def make_users(self) -> RunningProcess:
        script = HERE / "docker/broker-users.py"
        environment = self._services.environment_of("broker-users")
        return self._start(sys.executable, str(script), str(self._secrets), environment=environment)

    async def up(self) -> None:
        """The jobs one after the other, then the roles, until they are ready."""
        for job in (lambda: self.start("topology"), self.make_users, lambda: self.start("topology-postcall")):
            process = job()
            assert await process.wait() == 0, process.text()
        started = {name: self.start(name) for name in ROLES}
        await started["tail"].wait_for_line("Waiting for enriched calls")
        for name in ("endpoint", "enricher", "ledger", "postcall"):
            await started[name].wait_for_line("broker.connected")
            await started[name].wait_for_url(f"http://127.0.0.1:{self.ports[name]}/readyz")
        self.tail = started["tail"]

    def url(self, name: str) -> str:
        return (self._secrets / name).read_text()

    def write(self, name: str, text: str) -> None:
        (self._secrets / name).write_text(text)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[PrivateNode, Path]]:
    """A broker as `make-secrets` has it, and its secrets, in which only the places of the servers are others."""
    folder = tmp_path_factory.mktemp("composed")
    secrets = make_secrets(folder / "secrets", VAPI_API_KEY=KEY, WEBHOOK_SECRETS=SECRET)
    told = dict(line.split(" = ") for line in secrets["rabbitmq_user.conf"].splitlines())
    cookie = folder / "node/home/.erlang.cookie"
    cookie.parent.mkdir(parents=True)
    cookie.write_text(told["default_pass"])  # a node of the tests has one secret for both
    cookie.chmod(0o400)
    async with PrivateNode(folder / "node", management=True, settings=told) as node:
        for name in (name for name in secrets if name.startswith("amqp_url")):
            there = secrets[name].replace("rabbitmq:5672", f"127.0.0.1:{URL(node.url).port}")
            (folder / "secrets" / name).write_text(there)
        yield node, folder / "secrets"


@pytest.fixture
def composed(
    made: tuple[PrivateNode, Path], tmp_path: Path, vapi: Vapi, start_process: Callable[..., RunningProcess]
) -> Composed:
    node, secrets = made
    shutil.copytree(secrets, tmp_path / "secrets")
    composed = Composed(node, vapi, tmp_path / "secrets", start_process)
    composed.write("database_url", f"sqlite:///{tmp_path}/calls.db")
    return composed


async def is_refused(url: str, deed: Callable[[AbstractChannel], Awaitable[object]]) -> bool:
    async with asyncio.timeout(PATIENCE_S), await aio_pika.connect(url) as connection:
        try:
            await deed(await connection.channel())
        except ChannelAccessRefused:
            return True
    return False


async def take_notifications(channel: AbstractChannel) -> None:
    await (await channel.get_queue("calls.enrich.default", ensure=False)).get(fail=False)


async def declare_a_queue(channel: AbstractChannel) -> None:
    await channel.declare_queue("calls.crm", durable=True)


async def test_a_call_travels_with_each_service_under_a_user_that_may_do_its_work_and_no_other(
    composed: Composed, vapi: Vapi
) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    await composed.up()

    headers = {"Authorization": f"Bearer {SECRET}"}
    address = f"http://127.0.0.1:{composed.ports['webhook']}/webhooks/vapi"
    async with aiohttp.ClientSession(headers=headers) as http, http.post(address, data=report("web")) as answer:
        assert answer.status == 200

    await composed.tail.wait_for_line(re.escape(call["id"]))
    groups = composed.start("operator", "dead", "groups")
    assert await groups.wait() == 0, groups.text()
    assert await is_refused(composed.url("amqp_url_ledger"), take_notifications)
    assert not await is_refused(composed.url("amqp_url_enrich"), take_notifications)
    for role in ("webhook", "enrich", "ledger", "postcall", "operator"):
        assert await is_refused(composed.url(f"amqp_url_{role}"), declare_a_queue)


async def test_a_password_that_is_changed_in_its_file_is_in_force_after_the_job_ran_again(composed: Composed) -> None:
    before = composed.url("amqp_url_webhook")
    after = str(URL(before).with_password("another"))
    await composed.start("topology").wait()
    assert await composed.make_users().wait() == 0
    composed.write("amqp_url_webhook", after)

    assert await composed.make_users().wait() == 0

    await (await aio_pika.connect(after)).close()
    with pytest.raises(ProbableAuthenticationError):
        await aio_pika.connect(before)


async def test_a_broker_whose_users_are_not_ours_to_make_is_left_alone(composed: Composed) -> None:
    for role in ("webhook", "enrich", "sweep", "ledger", "postcall", "crm", "forward", "alerts", "operator", "tail"):
        composed.write(f"amqp_url_{role}", "amqp://calls:password@rabbitmq.example.com/calls")

    process = composed.make_users()

    assert await process.wait() == 0
    assert "users of the broker: none of ours" in process.text()


async def test_users_are_left_alone_where_the_jobs_run_under_one_of_them(composed: Composed) -> None:
    composed.write("amqp_url", composed.url("amqp_url_webhook").replace("aftercall-webhook", "aftercall-topology"))

    process = composed.make_users()

    assert await process.wait() == 0
    assert "left as they are: aftercall-topology of AFTERCALL_AMQP_URL is one of them" in process.text()


async def test_an_address_without_a_password_empties_none(composed: Composed) -> None:
    address = composed.url("amqp_url_webhook")
    await composed.start("topology").wait()
    assert await composed.make_users().wait() == 0
    composed.write("amqp_url_webhook", str(URL(address).with_password(None)))

    process = composed.make_users()

    assert await process.wait() == 0
    assert "aftercall-webhook" not in process.text()
    await (await aio_pika.connect(address)).close()


async def test_an_administrator_that_is_none_is_told(composed: Composed) -> None:
    composed.write("amqp_url", str(URL(composed.url("amqp_url")).with_password("wrong")))

    process = composed.make_users()

    assert await process.wait() == 1
    assert "asked by the user of AFTERCALL_AMQP_URL: HTTP Error 401: Unauthorized" in process.text()
