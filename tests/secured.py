"""A broker and a Vapi that take TLS alone, and ask for a client certificate."""

import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from yarl import URL

from tests.certificates import Authority, Certificate
from worker.simulate.rabbitmq import PrivateNode, free_ports


def listeners(ports: tuple[int, int], ca: Path, live: Path) -> dict[str, str]:
    """Lines of rabbitmq.conf: https://www.rabbitmq.com/docs/ssl and https://www.rabbitmq.com/docs/management."""
    files = {"cacertfile": f"{ca}", "certfile": f"{live}.pem", "keyfile": f"{live}.key"}
    options = files | {"verify": "verify_peer", "fail_if_no_peer_cert": "true"}
    amqps, https = ports
    places = {"listeners.ssl.default": f"127.0.0.1:{amqps}", "management.ssl.port": f"{https}"}
    told = {f"{of}.{key}": value for of in ("ssl_options", "management.ssl") for key, value in options.items()}
    return {**places, "management.ssl.ip": "127.0.0.1", **told}


class SecuredNode:
    """A private node with a port for AMQP over TLS, and one for its management API."""

    def __init__(self, node: PrivateNode, folder: Path, ports: tuple[int, int]) -> None:
        self._node = node
        self._live = folder / "live"
        self._amqps, self._https = ports

    @property
    def url(self) -> str:
        """Without any parameters."""
        return str(URL(self._node.url).with_scheme("amqps").with_port(self._amqps))

    @property
    def management_url(self) -> str:
        return str(URL(self._node.management_url or "").with_scheme("https").with_port(self._https))

    async def show(self, certificate: Certificate) -> None:
        """From now on be who the certificate says; Erlang would look at its files again after two minutes."""
        self.put(certificate)
        await self._node.ctl("eval", "ssl:clear_pem_cache().")

    def put(self, certificate: Certificate) -> None:
        shutil.copy(certificate.cert, self._live.with_suffix(".pem"))
        shutil.copy(certificate.key, self._live.with_suffix(".key"))


@asynccontextmanager
async def secured_node(folder: Path, authority: Authority, certificate: Certificate) -> AsyncIterator[SecuredNode]:
    amqps, https = free_ports(2)
    node = PrivateNode(management=True, settings=listeners((amqps, https), authority.cert, folder / "live"))
    secured = SecuredNode(node, folder, (amqps, https))
    secured.put(certificate)
    async with node:
        yield secured


@asynccontextmanager
async def served_securely(
    app: web.Application, authority: Authority, certificate: Certificate, port: int = 0
) -> AsyncIterator[str]:
    """The base URL of an application served over TLS to clients with a certificate of the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.cert))
    context.load_cert_chain(certificate.cert, certificate.key)
    context.verify_mode = ssl.CERT_REQUIRED
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
