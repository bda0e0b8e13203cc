"""Make the users of the broker that the addresses in a folder name, each with the rights of its role.

`broker-users.py FOLDER`: the files are `amqp_url_<role>`. The password of `aftercall-webhook` is that of its address in
`amqp_url_webhook`, also when it is changed there later; a user of another name is left alone. AFTERCALL_AMQP_URL is
an administrator's, and the topology is there: RabbitMQ 4.3 takes rights to the keys of an exchange only then.
"""  # noqa: INP001

import os
import sys
from base64 import b64encode
from pathlib import Path
from urllib.request import Request, urlopen

import orjson
from yarl import URL

from worker.broker.export import access
from worker.broker.live import management_of
from worker.broker.topology import topology_of
from worker.broker.users import users_of
from worker.clients.tls import context_of
from worker.settings import Secret, Settings, load
from worker.settings.tls import tls_files_of

ANSWER_S = 20.0


def passwords_in(folder: Path) -> dict[str, str]:
    """The passwords, by the names of their users; of several addresses of a cluster the first tells."""
    addresses = (URL(url) for path in folder.glob("amqp_url_*") for url in Secret(path=str(path)).each()[:1])
    return {url.user or "": url.password or "" for url in addresses}


def send(document: object, settings: Settings) -> None:
    """Import definitions through the management API. Raises `OSError`, which a refusal is too."""
    url, _ = management_of(settings)
    login = b64encode(f"{url.user}:{url.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    address = str(url.with_user(None).with_query(None).joinpath("api/definitions"))
    request = Request(address, orjson.dumps(document), headers, method="POST")  # noqa: S310  the settings have seen to it
    context = context_of(tls_files_of(str(url))) if url.scheme == "https" else None
    urlopen(request, timeout=ANSWER_S, context=context).close()  # noqa: S310


settings = load(os.environ)
passwords = passwords_in(Path(sys.argv[1]))
users = [user for user in users_of(topology_of(settings)).values() if user.name in passwords]
try:
    if users:
        send(access(users, management_of(settings)[1], passwords), settings)
except OSError as error:
    sys.exit(f"the management API of the broker, asked by the user of AFTERCALL_AMQP_URL: {error}")
sys.stdout.write(f"users of the broker: {', '.join(user.name for user in users) or 'none of ours'}\n")
