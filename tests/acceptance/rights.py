"""Each process of the acceptance tests under the user of its role: what it has no right to, no test needs."""

import json
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from yarl import URL

from worker.broker.export import access, definitions
from worker.broker.management import vhost_of
from worker.broker.topology import topology_of
from worker.broker.users import handler_role, users_of
from worker.settings import Settings, SettingsError, load, with_queue

PASSWORD = "a-password"
OPERATORS = {"dead": "operator", "replay": "operator", "doctor": "operator", "tail": "tail"}
SERVING = ("webhook", "sweep", "all")


def role_of(command: tuple[str, ...]) -> str:
    """The role whose user a command is run by; empty for one that asks no broker."""
    if command[0] in SERVING:
        return command[0]
    if command[0] != "consume":
        return OPERATORS.get(command[0], "")
    if "--queue" in command:
        return handler_role(command[command.index("--queue") + 1])
    return command[1] if len(command) == 2 else "all"


class Users:
    """The users of a broker, made through its management API, for processes that run in a folder."""

    def __init__(self, management_url: str, folder: Path) -> None:
        self._management = URL(management_url)
        self._folder = folder

    def environment_of(self, command: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, str]:
        """The environment in which a command is run by the user of its role, after what `topology export` writes is
        imported.

        As it is, if the command is to fail for its settings, asks no broker, or declares the topology itself.
        """
        role = role_of(command)
        try:
            settings = load(environment, self._folder)
            if role.startswith("handler-"):
                settings = with_queue(settings, role.removeprefix("handler-"))
        except (SettingsError, ValueError):
            return dict(environment)
        if role not in users_of(topology_of(settings)) or "AFTERCALL_TOPOLOGY" in environment:
            return dict(environment)
        self.prepare(settings, role)
        urls = (
            str(URL(url).with_user(f"aftercall-{role}").with_password(PASSWORD)) for url in settings.amqp_url.each()
        )
        return {**environment, "AFTERCALL_AMQP_URL": ",".join(urls), "AFTERCALL_TOPOLOGY": "check"}

    def prepare(self, settings: Settings, role: str) -> None:
        """Import the user of the role with its rights; for what serves, the topology of the settings before."""
        topology, vhost = topology_of(settings), vhost_of(URL(settings.amqp_url.each()[-1]))
        user = users_of(topology)[role]
        if role not in OPERATORS.values():
            self._post(definitions(topology, vhost))
        self._post(access([user], vhost, {user.name: PASSWORD}))

    def _post(self, document: object) -> None:
        login = b64encode(f"{self._management.user}:{self._management.password}".encode()).decode()
        request = urllib.request.Request(
            str(self._management.with_user(None).with_path("/api/definitions")),
            data=json.dumps(document).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=20):
            pass
