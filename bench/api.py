"""The API of the benches, as a process of its own: `python -m bench.api`."""

import argparse
import asyncio

import uvloop
from aiohttp import web

from bench.bodies import PLACE, call_of


async def serve(port: int, *, size_bytes: int, latency_s: float) -> None:
    """Answer every `GET /call/<id>` with a call of that size, after that time."""
    before, after = call_of(size_bytes).split(PLACE)

    async def answer(request: web.Request) -> web.Response:
        if latency_s:
            await asyncio.sleep(latency_s)
        body = before + request.match_info["id"].encode() + after
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/call/{id}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    """Parse the arguments that `bench.rig` gives."""
    parser = argparse.ArgumentParser(prog="python -m bench.api", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size-bytes", type=int, default=20480, help="of a call (20480)")
    parser.add_argument("--latency-s", type=float, default=0, help="before it comes (0)")
    given = parser.parse_args()
    uvloop.run(serve(given.port, size_bytes=given.size_bytes, latency_s=given.latency_s))


if __name__ == "__main__":
    main()
