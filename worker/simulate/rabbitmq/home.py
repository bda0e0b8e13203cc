"""What a private RabbitMQ node finds on disk and in its environment, so that it shares nothing with another one."""

import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

LOCALHOST = "127.0.0.1"

PACKAGED_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Where the packages of Debian and Red Hat keep the real script; the one in /usr/sbin switches to another user."""

PORT_RANGE = range(20_000, 32_000)
"""Below the ports that Linux gives to outgoing connections (`ip_local_port_range`, from 32768): there, a client that
keeps dialling the port of a dead node can be connected to itself, and then holds the port against a restart."""

_USER = "aftercall"
_LOG_TAIL_LINES = 25


class NoBrokerError(Exception):
    """There is no RabbitMQ to work with; the message says why and what to do."""


def find_server() -> Path | None:
    """Find the start script of an installed RabbitMQ server."""
    on_path = shutil.which("rabbitmq-server")
    # Packages put a link to a wrapper on the PATH; the real script lies beside the wrapper, with its rabbitmq-env.
    beside = [Path(on_path).resolve().with_name("rabbitmq-server")] if on_path else []
    return next((script for script in (PACKAGED_SERVER, *beside) if script.with_name("rabbitmq-env").exists()), None)


def free_ports(count: int) -> list[int]:
    """Pick distinct ports of 127.0.0.1 on which nobody listens at this moment."""
    shuffled = secrets.SystemRandom().sample(PORT_RANGE, len(PORT_RANGE))
    return list(islice(filter(_is_free, shuffled), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports of one node; those of plugins that are off stay unused."""

    amqp: int
    distribution: int
    epmd: int
    management: int
    prometheus: int

    @classmethod
    def pick(cls) -> "Ports":
        """Five ports that are free at this moment."""
        return cls(*free_ports(5))


@dataclass(frozen=True, slots=True)
class NodeHome:
    """The directory of one node: its configuration, cookie, data and log."""

    directory: Path
    ports: Ports
    plugins: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    schedulers: int | None = 1

    @property
    def url(self) -> str:
        """The AMQP URL of the default virtual host."""
        return f"amqp://{_USER}:{self._secret}@{LOCALHOST}:{self.ports.amqp}/"

    @property
    def management_url(self) -> str | None:
        """The root of the management plugin's HTTP server, user and password included; None if the plugin is off."""
        if "rabbitmq_management" not in self.plugins:
            return None
        return f"http://{_USER}:{self._secret}@{LOCALHOST}:{self.ports.management}"

    @property
    def log(self) -> Path:
        """What the node and its epmd print: RabbitMQ's whole log."""
        return self.directory / "node.log"

    def log_tail(self) -> str:
        """The last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def write(self) -> None:
        """Write what the node reads at its start; the secret of an earlier start in this directory is kept."""
        self._cookie.parent.mkdir(parents=True, exist_ok=True)
        if not self._cookie.exists():
            self._cookie.touch(mode=0o600)
            self._cookie.write_text(secrets.token_hex(16))
            self._cookie.chmod(0o400)  # Erlang refuses a cookie that others could read
        (self.directory / "enabled_plugins").write_text(f"[{','.join(self.plugins)}].\n")
        (self.directory / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in self._settings()))

    def environment(self) -> Mapping[str, str]:
        """The environment of the node, its epmd and `rabbitmqctl`: nothing of ours but the PATH.

        The names are those of RabbitMQ's configuration guide (https://www.rabbitmq.com/docs/configure).
        """
        limit = f"+S {self.schedulers}:{self.schedulers}" if self.schedulers else ""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._cookie.parent),
            "ERL_CRASH_DUMP_SECONDS": "0",  # the log says enough
            "ERL_EPMD_ADDRESS": LOCALHOST,
            "ERL_EPMD_PORT": str(self.ports.epmd),
            "RABBITMQ_NODENAME": f"aftercall@{LOCALHOST}",  # told from others by its epmd; no name to be resolved
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODE_IP_ADDRESS": LOCALHOST,
            "RABBITMQ_NODE_PORT": str(self.ports.amqp),
            "RABBITMQ_DIST_PORT": str(self.ports.distribution),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{limit} +sbwt none -kernel inet_dist_use_interface {{127,0,0,1}}",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the node, so that we know its process id
        }

    def _settings(self) -> list[tuple[str, str | int]]:
        """Return rabbitmq.conf as pairs; a plugin that is off has no schema, and its keys would be refused."""
        settings: list[tuple[str, str | int]] = [
            ("loopback_users", "none"),
            ("default_user", _USER),
            ("default_pass", self._secret),
            ("disk_free_limit.absolute", "50MB"),
        ]
        for plugin, port in (("management", self.ports.management), ("prometheus", self.ports.prometheus)):
            if f"rabbitmq_{plugin}" in self.plugins:
                settings += [(f"{plugin}.tcp.ip", LOCALHOST), (f"{plugin}.tcp.port", port)]
        return [*settings, *self.settings.items()]

    @property
    def _secret(self) -> str:
        """Cookie and password at once. With one of its own, no node is ever taken for another on the same port."""
        return self._cookie.read_text()

    @property
    def _cookie(self) -> Path:
        return self.directory / "home" / ".erlang.cookie"
