"""All that takes part in a drill: a broker, two wires to it, the endpoint, the consumers, and the simulated Vapi."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from yarl import URL

from worker.settings import Settings, load
from worker.simulate.api.routes import Trouble
from worker.simulate.drill.disk import Disk
from worker.simulate.faults import Faults
from worker.simulate.processes import Role
from worker.simulate.rabbitmq import PrivateNode, free_ports
from worker.simulate.rabbitmq.commands import run
from worker.simulate.rabbitmq.home import LOCALHOST
from worker.simulate.tcp_proxy import TcpProxy
from worker.simulate.vapi import SimulatedVapi, SimulatorSettings

KEY: Final = "drill-key"
SECRET: Final = "drill-secret"  # noqa: S105  # of a drill
SETTLED_S: Final = 2.5
"""RabbitMQ 3.10 loses a quorum queue that was declared in the last half second before kill -9."""
COMMAND_S: Final = 90.0
CALL_FAULTS: Final = Faults.parse("everything=0.04,dropped=0.06,doubled=0.06,late=0.1")
TIME_SCALE: Final = 0.5
TIMES: Final = {
    "AFTERCALL_EMIT_AFTER_S": "8",
    "AFTERCALL_GIVE_UP_AFTER_S": "60",
    "AFTERCALL_RETRY_TIERS_S": "1,2,4,8",
    "AFTERCALL_SWEEP_GRACE_S": "1",
    "AFTERCALL_VAPI_RATE": "500",
    "AFTERCALL_GRACE_S": "10",
}


class Stage:
    """The parts of a running drill. Whatever is broken is mended by `mend`."""

    def __init__(self, node: PrivateNode, wires: tuple[TcpProxy, TcpProxy], folder: Path, disk: Disk) -> None:
        self.node = node
        self.endpoint_wire, self.worker_wire = wires
        self.folder = folder
        self.disk = disk
        webhook, self._endpoint_probes, self._worker_probes, self._vapi_port = free_ports(4)
        self._webhook_url = f"http://{LOCALHOST}:{webhook}/webhooks/vapi"
        self.environment = TIMES | {
            "AFTERCALL_AMQP_URL": node.url,
            "AFTERCALL_VAPI_API_KEY": KEY,
            "AFTERCALL_VAPI_BASE_URL": f"http://{LOCALHOST}:{self._vapi_port}",
            "AFTERCALL_WEBHOOK_SECRETS": SECRET,
            "AFTERCALL_WEBHOOK_HOST": LOCALHOST,
            "AFTERCALL_WEBHOOK_PORT": str(webhook),
            "AFTERCALL_SPOOL_DIR": str(self.spool),
            "AFTERCALL_LEDGER_URL": f"sqlite:///{self.ledger}",
        }
        self.endpoint = self._role(self.endpoint_wire, self._endpoint_probes, "webhook")
        self.worker = self._role(self.worker_wire, self._worker_probes, "consume", "enrich", "ledger")
        self.vapi: SimulatedVapi
        self.declared_at = 0.0

    @property
    def spool(self) -> Path:
        """The spool's folder, on a disk that can be filled where that may be had."""
        return self.disk.folder / "spool"

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.folder / "ledger.db"

    @property
    def wires(self) -> tuple[TcpProxy, TcpProxy]:
        """The endpoint's wire to the broker, and the consumers'."""
        return self.endpoint_wire, self.worker_wire

    @property
    def settings(self) -> Settings:
        """The settings of all roles, the broker's own address in them."""
        return load(self.environment)

    @property
    def spooled_url(self) -> str:
        """Where the endpoint tells how much waits in its spool, among its metrics."""
        return f"http://{LOCALHOST}:{self._endpoint_probes}/metrics"

    def simulator(self, *, seed: int, calls: int, seconds: float) -> SimulatedVapi:
        """The simulated Vapi, which ends so many calls within so many seconds, once it is started."""
        self.vapi = SimulatedVapi(
            SimulatorSettings(
                api_key=KEY,
                webhook_url=self._webhook_url,
                signer=_sign,
                port=self._vapi_port,
                seed=seed,
                rate=calls / seconds,
                count=calls,
                faults=CALL_FAULTS,
                time_scale=TIME_SCALE,
            )
        )
        return self.vapi

    async def settled(self) -> None:
        """Wait until the broker has written down what was declared last."""
        await asyncio.sleep(max(0.0, self.declared_at + SETTLED_S - time.monotonic()))

    async def command(self, *arguments: str) -> str:
        """Run an `aftercall` command to its end; what it printed. Raises `CalledProcessError` and `TimeoutError`."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
        environment = {**inherited, **self.environment, "AFTERCALL_ADMIN_PORT": "0"}
        return await run(sys.executable, "-m", "worker.cli", *arguments, within_s=COMMAND_S, environment=environment)

    async def mend(self) -> None:
        """End every fault, start what is dead, and wait until all of it says that it is ready."""
        self.vapi.trouble, self.vapi.faults = Trouble(), CALL_FAULTS
        self.disk.free()
        await self._mend_broker()
        for wire in self.wires:
            wire.resume()
        await self.command("topology", "apply")
        for role in (self.endpoint, self.worker):
            if not role.is_running:
                await role.start()
        await self.ready()

    async def ready(self) -> None:
        """Wait until both roles are. Raises `DidNotStart`."""
        await self.endpoint.ready(f"http://{LOCALHOST}:{self._endpoint_probes}/readyz")
        await self.worker.ready(f"http://{LOCALHOST}:{self._worker_probes}/readyz")

    async def _mend_broker(self) -> None:
        try:
            self.node.resume()
        except RuntimeError:  # it does not run
            await self.node.restart()
        await self.node.ctl("set_vm_memory_high_watermark", "0.4")

    def _role(self, wire: TcpProxy, probes: int, *arguments: str) -> Role:
        own = {"AFTERCALL_AMQP_URL": wire.through(self.node.url), "AFTERCALL_ADMIN_PORT": str(probes)}
        return Role(*arguments, environment=self.environment | own, log=self.folder / f"{arguments[0]}.log")


@asynccontextmanager
async def staged(tell: Callable[[str], None], keep: Path | None) -> AsyncIterator[Stage]:
    """Start all but the simulated Vapi; it ends with the context. Logs and databases stay in `keep`, if given."""
    async with AsyncExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aftercall-drill-")))
        folder.mkdir(parents=True, exist_ok=True)
        tell("Starting RabbitMQ, the endpoint and the consumers …")
        disk = stack.enter_context(Disk(folder / "disk"))
        node = await stack.enter_async_context(PrivateNode())
        port = URL(node.url).port or 0
        endpoint_wire = await stack.enter_async_context(TcpProxy(LOCALHOST, port))
        worker_wire = await stack.enter_async_context(TcpProxy(LOCALHOST, port))
        stage = Stage(node, (endpoint_wire, worker_wire), folder, disk)
        await stage.command("topology", "apply")
        stage.declared_at = time.monotonic()
        for role in (stage.endpoint, stage.worker):
            await stack.enter_async_context(role)
        await stage.ready()
        yield stage


def _sign(_method: str, _url: str, _body: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRET}"}
