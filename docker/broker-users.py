"""Make the users of the broker that the addresses in a folder name, each with the rights of its role.

`broker-users.py FOLDER`: the files are `amqp_url_<role>`. The password of `aftercall-webhook` is that of its address in
`amqp_url_webhook`, also when it is changed there later; a user of another name is left alone. AFTERCALL_AMQP_URL is
an administrator's, and the topology is there: RabbitMQ 4.3 takes rights to the keys of an exchange only then.
"""  # noqa: INP001

import os
import sys
from base64 import b64encode
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import orjson
from yarl import URL

from worker.broker.export import access
from worker.broker.management import management_of
from worker.broker.topology import topology_of
from worker.broker.users import users_of
from worker.clients.tls import context_of
from worker.settings import Secret, load
from worker.settings.tls import tls_files_of

ANSWER_S = 20.0


def passwords_in(folder: Path) -> dict[str, str]:
    """The passwords, by the names of their users; of several addresses of a cluster the first tells."""
    addresses = (URL(url) for path in folder.glob("amqp_url_*") for url in Secret(path=str(path)).each()[:1])
    return {url.user: url.password for url in addresses if url.user and url.password}


class Stays(HTTPRedirectHandler):
    """Follows no redirect, which could carry the password to another host."""

    def redirect_request(self, *_told: object) -> None:
        """Take the redirect for the answer."""


class Api:
    """The management API, asked by the user of AFTERCALL_AMQP_URL. What it refuses is an `OSError` too."""

    def __init__(self, root: URL) -> None:
        login = b64encode(f"{root.user}:{root.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        self._root = root.with_user(None).with_query(None) / "api"
        context = context_of(tls_files_of(str(root))) if root.scheme == "https" else None
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context), Stays())

    def send(self, document: object) -> None:
        """Import definitions."""
        address, body = str(self._root / "definitions"), orjson.dumps(document)
        self._opener.open(Request(address, body, self._headers), timeout=ANSWER_S).close()  # noqa: S310  settings see to it


def make_users(folder: Path) -> str:
    """Make the users, and say which."""
    settings = load(os.environ)
    passwords = passwords_in(folder)
    ours = users_of(topology_of(settings)).values()
    users = [user for user in ours if user.name in passwords]
    root, virtual_host = management_of(settings)
    if not users:
        return "none of ours"
    if root.user in {user.name for user in ours}:
        return f"left as they are: {root.user} of AFTERCALL_AMQP_URL is one of them, and no administrator"
    Api(root).send(access(users, virtual_host, passwords))
    return ", ".join(user.name for user in users)


def reason(error: Exception) -> str:
    """What the broker says of a refusal, or what is wrong otherwise."""
    return f"{error}: {error.read()[:300].decode(errors='replace')}" if isinstance(error, HTTPError) else str(error)


try:
    sys.stdout.write(f"users of the broker: {make_users(Path(sys.argv[1]))}\n")
except (OSError, HTTPException) as error:
    sys.exit(f"the management API of the broker, asked by the user of AFTERCALL_AMQP_URL: {reason(error)}")
