"""Probes and metrics, on the admin port: never where the public comes in."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

Look = Callable[[], Awaitable[dict[str, bool]]]
"""Each thing that must be so for this process to do its work, and whether it is."""


def admin_application(look: Look) -> web.Application:
    """`/livez`: the loop turns. `/readyz`: all that `look` names is so. `/metrics`: Prometheus."""
    app = web.Application()

    async def ready(_request: web.Request) -> web.Response:
        checks = await look()
        is_ready = all(checks.values())
        return web.json_response({"ready": is_ready, "checks": checks}, status=200 if is_ready else 503)

    app.router.add_get("/livez", _live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", make_aiohttp_handler())
    return app


async def _live(_request: web.Request) -> web.Response:
    return web.json_response({"live": True})
