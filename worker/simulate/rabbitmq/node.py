"""A RabbitMQ node of our own, for the demo, the tests and the loss drill."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from worker.simulate.rabbitmq.commands import run
from worker.simulate.rabbitmq.guard import Guard
from worker.simulate.rabbitmq.handshake import wait_for_broker
from worker.simulate.rabbitmq.home import LOCALHOST, NoBrokerError, NodeHome, Ports, find_server

_TRIES = 3
_GRACE_S = 20.0
_STARTED_S = 30.0
_NOT_STARTED = "requires the 'rabbit' app to be running"

# Keeps the ids of our processes, the newest of each, and ends those that are left.
_END_NODE = """
while read -r name pid; do case $name in node) node=$pid ;; epmd) epmd=$pid ;; esac; done
for pid in $node $epmd; do kill -KILL "$pid"; done
[ -z "$1" ] || rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"""


class _PortTakenError(NoBrokerError):
    """Someone took one of the node's ports between our look and its start."""


class _NotStartedError(RuntimeError):
    """The node takes connections already, and does not count as started yet: that comes a moment later."""


class PrivateNode:
    """One RabbitMQ node in a directory of its own, on free ports of 127.0.0.1, with its own epmd, cookie and user.

    Used as `async with PrivateNode() as node`. `settings` are further lines of its rabbitmq.conf; `schedulers` is how
    many processors it uses, None all. Without a directory it has a temporary one, removed by `stop()`. Whatever happens
    to our process, SIGKILL included, a guard ends the node and its epmd and removes what is temporary.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        management: bool = False,
        prometheus: bool = False,
        settings: Mapping[str, str] | None = None,
        schedulers: int | None = 1,
        start_within_s: float = 45.0,
    ) -> None:
        switches = {"rabbitmq_management": management, "rabbitmq_prometheus": prometheus}
        self._plugins = tuple(plugin for plugin, on in switches.items() if on)
        self._directory = directory.absolute() if directory else None
        self._settings: Mapping[str, str] = settings or {}
        self._schedulers = schedulers
        self._start_within_s = start_within_s
        self._server: Path
        self._home: NodeHome
        self._guard: Guard | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> NodeHome:
        """The node's directory, ports and log."""
        return self._home

    @property
    def url(self) -> str:
        """The AMQP URL of the default virtual host, user and password included."""
        return self._home.url

    @property
    def management_url(self) -> str | None:
        """The root of the management plugin's HTTP server, user and password included; None if the plugin is off."""
        return self._home.management_url

    @property
    def pid(self) -> int:
        """The process id of the node."""
        return self._running().pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the node and wait until it accepts an AMQP handshake; if a port was taken meanwhile, try others.

        Raises `NoBrokerError` if no server is installed or it did not start in time, and quotes the end of its log.
        """
        self._server = _installed_server()
        directory = self._directory or Path(tempfile.mkdtemp(prefix="aftercall-rabbitmq-"))
        self._guard = Guard(_END_NODE, "" if self._directory else str(directory))
        try:
            await self._start_on_free_ports(directory)
        except BaseException:
            await self.stop()
            raise

    async def _start_on_free_ports(self, directory: Path) -> None:
        for tries_left in reversed(range(_TRIES)):
            self._home = NodeHome(directory, Ports.pick(), self._plugins, self._settings, self._schedulers)
            self._home.write()
            try:
                await self._launch()
            except _PortTakenError:
                await self._end_processes()
                if not tries_left:
                    raise
            else:
                return

    async def restart(self) -> None:
        """Start the node again in its directory and on its ports, after ending it gently if it runs.

        Raises `NoBrokerError` as `start()` does.
        """
        await self._end_gently()
        await self._launch()

    async def kill(self) -> None:
        """End the node by SIGKILL, as a crash would; directory, ports and epmd stay for `restart()`.

        RabbitMQ 3.10 loses a quorum queue declared in the last half second before it: wait 2 s after declaring.
        """
        if self._node is not None:
            self._node.kill()
            await asyncio.to_thread(self._node.wait)
            self._node = None
            self._tell_guard("node")

    def pause(self) -> None:
        """Freeze the node by SIGSTOP: its connections stay open, and nobody answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused node go on."""
        self._running().send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End the node and its epmd. A temporary directory is removed; in one that stays, the node ends gently."""
        if self._directory is not None:
            await self._end_gently()
        await self._end_processes()
        if self._guard is not None:
            await self._guard.release()
            self._guard = None

    @retry(
        retry=retry_if_exception_type(_NotStartedError),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(_STARTED_S),
        reraise=True,
    )
    async def ctl(self, *arguments: str, within_s: float = 30.0) -> str:
        """Run `rabbitmqctl` on the node and return what it printed, without headers.

        Raises `RuntimeError` if it failed, quoting what it said, and `TimeoutError` if it did not end in time, as with
        a paused node. A node that does not count as started yet is asked again for half a minute.
        """
        command = (str(self._server.with_name("rabbitmqctl")), "--silent", *arguments)
        try:
            return await run(*command, within_s=within_s, environment=self._home.environment())
        except subprocess.CalledProcessError as error:
            kind = _NotStartedError if _NOT_STARTED in error.output else RuntimeError
            raise kind(f"rabbitmqctl {' '.join(arguments)}: {error.output.strip()}") from error

    def _running(self) -> subprocess.Popen[bytes]:
        if self._node is None:
            raise RuntimeError("this RabbitMQ node does not run: start() or restart() it first")
        return self._node

    async def _launch(self) -> None:
        if self._epmd is None:
            # Started by the node itself it would outlive it, with an id that nobody knows.
            epmd = shutil.which("epmd") or "epmd"
            self._epmd = self._spawn("epmd", epmd, "-address", LOCALHOST, "-port", str(self._home.ports.epmd))
        self._node = self._spawn("node", str(self._server))
        if not await wait_for_broker(
            self.url, self._home.ports.amqp, self._start_within_s, is_running=self._is_running
        ):
            raise self._failure()

    def _spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        # Not asyncio's subprocess: the node may outlive the event loop that started it, as in a session of tests.
        with self._home.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  the server that find_server() found
                command,
                cwd=self._home.directory,
                env=self._home.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._tell_guard(name, process.pid)
        return process

    def _is_running(self) -> bool:
        return all(process is not None and process.poll() is None for process in (self._node, self._epmd))

    def _failure(self) -> NoBrokerError:
        log = self._home.log_tail()
        what = f"did not answer within {self._start_within_s:g} s" if self._is_running() else "ended while it started"
        error = _PortTakenError if "eaddrinuse" in log or "already a epmd" in log else NoBrokerError
        return error(
            f"The private RabbitMQ node {what}. Mend what the end of its log names, or set AFTERCALL_AMQP_URL"
            f" to a broker of your own.\n{log}"
        )

    async def _end_gently(self) -> None:
        if self._node is not None:
            self._node.send_signal(signal.SIGCONT)
            self._node.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._node.wait, _GRACE_S)
            await self.kill()

    async def _end_processes(self) -> None:
        await self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            await asyncio.to_thread(self._epmd.wait)
            self._epmd = None
            self._tell_guard("epmd")

    def _tell_guard(self, name: str, pid: int | str = "") -> None:
        if self._guard is not None:
            self._guard.tell(f"{name} {pid}")


def _installed_server() -> Path:
    server = find_server()
    if server is None:
        raise NoBrokerError("No RabbitMQ server is installed: install the package rabbitmq-server.")
    return server
