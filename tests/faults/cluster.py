import asyncio
import secrets
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.processes import eventually
from worker.simulate.rabbitmq.commands import run
from worker.simulate.rabbitmq.guard import Guard
from worker.simulate.rabbitmq.handshake import wait_for_broker
from worker.simulate.rabbitmq.home import LOCALHOST, NodeHome, Ports, find_server

SIZE = 3
START_S = 120.0
HEARTBEAT_S = 4  # who says nothing is found dead after 15 s, where the default takes 39
# Each line is a place and the id of the process that has it now: ids of the dead may be another's by then.
END_ALL = """
while read -r place pid; do eval "pid_$place=$pid"; done
for pid in $pid_0 $pid_1 $pid_2 $pid_3; do kill -KILL "$pid"; done
"""


class Node:
    """One node of a cluster: a name of its own, and the cluster's cookie and epmd."""

    def __init__(self, number: int, folder: Path, epmd_port: int, cookie: str, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._number = number
        self.name = f"node{number}@{LOCALHOST}"
        self.home = NodeHome(folder / f"node{number}", replace(Ports.pick(), epmd=epmd_port))
        kept = self.home.directory / "home" / ".erlang.cookie"
        kept.parent.mkdir(parents=True)
        kept.write_text(cookie)
        kept.chmod(0o400)
        self.home.write()
        discovery = "cluster_formation.peer_discovery_backend = classic_config\n" + "".join(
            f"cluster_formation.classic_config.nodes.{each} = node{each}@{LOCALHOST}\n" for each in range(1, SIZE + 1)
        )
        with (self.home.directory / "rabbitmq.conf").open("a") as conf:
            conf.write(discovery)
        self.environment = {**self.home.environment(), "RABBITMQ_NODENAME": self.name}
        self.process: subprocess.Popen[bytes]

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with self.home.log.open("ab") as log:
            self.process = subprocess.Popen(
                command or (str(find_server()),),
                cwd=self.home.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._tell(f"{0 if command else self._number} {self.process.pid}")
        return self.process

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    async def answers(self) -> bool:
        return await wait_for_broker(self.home.url, self.home.ports.amqp, START_S, is_running=lambda: self.is_running)

    async def ctl(self, *arguments: str) -> str:
        server = find_server()
        assert server
        command = str(server.with_name("rabbitmqctl"))
        return await run(command, "--silent", *arguments, within_s=30, environment=self.environment)


class Cluster:
    """Three nodes of the installed RabbitMQ, joined; they end with the context, or with our process."""

    def __init__(self, folder: Path) -> None:
        epmd_port, cookie = Ports.pick().epmd, secrets.token_hex(16)
        self._guard = Guard(END_ALL)
        self.nodes = [Node(number, folder, epmd_port, cookie, self._guard.tell) for number in range(1, SIZE + 1)]
        self._epmd = str(epmd_port)

    @property
    def urls(self) -> str:
        return ",".join(f"{node.home.url}?heartbeat={HEARTBEAT_S}" for node in self.nodes)

    async def __aenter__(self) -> Self:
        first = self.nodes[0]
        self._epmd_process = first.start("epmd", "-address", LOCALHOST, "-port", self._epmd)
        for node in self.nodes:
            node.start()
        assert all(await asyncio.gather(*(node.answers() for node in self.nodes))), first.home.log_tail()
        await eventually(self._is_joined, START_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*(node.process for node in self.nodes), self._epmd_process):
            process.kill()
            await asyncio.to_thread(process.wait)
        for place in range(SIZE + 1):
            self._guard.tell(f"{place} ''")
        await self._guard.release()

    async def leader_of(self, queue: str) -> Node:
        told = await self.nodes[0].ctl("list_queues", "name", "leader")
        name = next(line.split("\t")[1] for line in told.splitlines() if line.startswith(f"{queue}\t"))
        return next(node for node in self.nodes if node.name == name)

    async def kill(self, node: Node) -> None:
        node.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(node.process.wait)

    async def _is_joined(self) -> bool:
        told = await self.nodes[0].ctl("eval", "length(rabbit_nodes:all_running()).")
        return told.strip() == str(SIZE)
