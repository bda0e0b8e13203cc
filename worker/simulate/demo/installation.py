"""The demo's processes: a broker, the roles, and what stands for the world around them."""

import asyncio
import shlex
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from worker.broker.watch import opened
from worker.settings import Settings, load
from worker.simulate.demo.subscribers import Places
from worker.simulate.demo.watching import CALLS, Demo
from worker.simulate.processes import Role
from worker.simulate.rabbitmq import find_broker, free_ports
from worker.simulate.send import send

RATE: Final = 5.0
FAULTS: Final = "everything=0.06,late=0.15,dropped=0,gone=0.03"
SECRET: Final = "demo-secret"  # noqa: S105  # of a demo
ROLES: Final = {
    "endpoint": ("webhook",),
    "enricher": ("consume", "enrich"),
    "subscribers": ("consume", "ledger", "postcall", "crm", "forward", "alerts"),
}
WORLD: Final = ("hubspot", "target")
# What Vapi would never send, so that there is something dead to look at.
BROKEN: Final = (
    ("a report without a call id", b'{"message":{"type":"end-of-call-report","endedReason":"customer-ended-call"}}'),
    ("a report cut off", b'{"message":{"type":"end-of-call-report","call":{"id":"01a0'),
)
SETTINGS: Final = {
    "AFTERCALL_EMIT_AFTER_S": "3",
    "AFTERCALL_GIVE_UP_AFTER_S": "20",
    "AFTERCALL_RETRY_TIERS_S": "1,2,4,8",
    "AFTERCALL_VAPI_RATE": "100",
    "AFTERCALL_CRM_RATE": "50",
    "AFTERCALL_VAPI_API_KEY": "demo-key",
    "AFTERCALL_WEBHOOK_SECRETS": SECRET,
    "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
    "AFTERCALL_CRM_TOKEN": "demo-token",
    "AFTERCALL_FORWARD_SECRETS": "own=whsec_ZGVtbyBkZW1vIGRlbW8gZGVtbyBkZW1v",
    "AFTERCALL_SUBSCRIBERS": "ledger,postcall,crm,forward,alerts",
}
ENVIRONMENT: Final = "environment"
"""The file with the settings of the roles, for a shell that is to look closer."""
TABLES: Final = """\
[forward.own]
url = "{target}/calls"
allow_private = true

[alerts]
group_wait_s = 3
over_after_s = 60
"""


@asynccontextmanager
async def running(environ: Mapping[str, str], tell: Callable[[str], None]) -> AsyncIterator[Demo]:
    """Start everything, one after the other; all of it ends with the context."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aftercall-demo-")))
        tell("Starting RabbitMQ …")
        broker = await stack.enter_async_context(find_broker(environ, tell=tell))
        tell(f"RabbitMQ: {broker.origin}")
        environment, places, probes = _prepare(broker.url, folder)
        settings = load(environment)
        tell("Starting the endpoint, the enricher and the subscribers …")
        await _start_the_world(stack, environment, places)
        await asyncio.gather(*(_start_role(stack, name, environment, port, folder) for name, port in probes.items()))
        channel = await stack.enter_async_context(opened(broker.url))
        demo = Demo(settings, channel, places, broken=len(BROKEN))
        looking = asyncio.create_task(demo.look_on(), name="look on")
        stack.callback(looking.cancel)
        await demo.looks_on.wait()
        tell(f"Calls begin to end, and things go wrong as with `aftercall simulate --faults {FAULTS}` …")
        await _start_vapi(stack, settings, environment, places)
        await _send_broken(settings)
        yield demo


def _prepare(amqp_url: str, folder: Path) -> tuple[dict[str, str], Places, dict[str, int]]:
    """The roles' environment, where the parts are, and the ports of the roles' probes."""
    webhook, *others = free_ports(1 + 1 + len(WORLD) + len(ROLES))
    vapi, hubspot, target = (f"http://127.0.0.1:{port}" for port in others[:3])
    config = folder / "aftercall.toml"
    config.write_text(TABLES.format(target=target), encoding="utf-8")
    environment = SETTINGS | {
        "AFTERCALL_CONFIG": str(config),
        "AFTERCALL_AMQP_URL": amqp_url,
        "AFTERCALL_VAPI_BASE_URL": vapi,
        "AFTERCALL_CRM_BASE_URL": hubspot,
        "AFTERCALL_ALERTS_URLS": f"{target.replace('http', 'json', 1)}/alerts",
        "AFTERCALL_WEBHOOK_PORT": str(webhook),
        # Never the defaults: what an installation here has kept is not for the demo.
        "AFTERCALL_SPOOL_DIR": str(folder / "spool"),
        "AFTERCALL_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "AFTERCALL_ARCHIVE_URL": f"sqlite:///{folder}/archive.db",
    }
    exports = (f"export {key}={shlex.quote(value)}\n" for key, value in environment.items())
    (folder / ENVIRONMENT).write_text("".join(exports), encoding="utf-8")
    return environment, Places(vapi, hubspot, target, str(folder)), dict(zip(ROLES, others[3:], strict=True))


async def _start_the_world(stack: AsyncExitStack, environment: Mapping[str, str], places: Places) -> None:
    """A HubSpot that is simulated, and a target that keeps what it is posted."""
    for name, url, look in (
        ("hubspot", places.hubspot, "account"),
        ("target", places.target, "received"),
    ):
        arguments = ("--port", url.rpartition(":")[2]) + (("--token", "demo-token") if name == "hubspot" else ())
        log = Path(places.folder) / f"{name}.log"
        part = Role(*arguments, environment=environment, log=log, module=f"worker.simulate.{name}")
        await stack.enter_async_context(part)
        await part.ready(f"{url}/_simulate/{look}")


async def _start_role(
    stack: AsyncExitStack, name: str, environment: Mapping[str, str], port: int, folder: Path
) -> None:
    ports = {"AFTERCALL_ADMIN_PORT": str(port)}
    role = Role(*ROLES[name], environment={**environment, **ports}, log=folder / f"{name}.log")
    await stack.enter_async_context(role)
    await role.ready(f"http://127.0.0.1:{port}/readyz")


async def _start_vapi(
    stack: AsyncExitStack, settings: Settings, environment: Mapping[str, str], places: Places
) -> None:
    numbers = ("--port", places.vapi.rpartition(":")[2], "--rate", str(RATE), "--count", str(CALLS))
    asked = ("simulate", *numbers, "--faults", FAULTS, "--webhook-url", _endpoint(settings))
    vapi = Role(*asked, environment=environment, log=Path(places.folder) / "vapi.log")
    await stack.enter_async_context(vapi)
    await vapi.ready(f"{places.vapi}/_simulate/account")


def _endpoint(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.webhook_port}/webhooks/vapi"


async def _send_broken(settings: Settings) -> None:
    def sign(_method: str, _url: str, _body: bytes) -> dict[str, str]:
        return {"Authorization": f"Bearer {SECRET}"}

    await send(BROKEN, url=_endpoint(settings), signer=sign, concurrency=1)
