"""The load and the API, as processes of their own: `python -m bench.load post|serve …`."""

import argparse
import asyncio
import json
import time
import uuid

import aiohttp
import uvloop
from aiohttp import web

from bench.bodies import PLACE, call_of, report_of


async def post(url: str, *, secret: str, size_bytes: int, connections: int, seconds: float) -> None:
    """Post for so long over so many connections, each as fast as it is answered; print what came of it."""
    before, after = report_of(size_bytes).split(PLACE)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    took: list[float] = []
    refused = 0
    end_at = time.perf_counter() + seconds

    async def keep_posting(http: aiohttp.ClientSession) -> None:
        nonlocal refused
        while (began := time.perf_counter()) < end_at:
            body = before + str(uuid.uuid4()).encode() + after
            async with http.post(url, data=body, headers=headers) as answer:
                await answer.read()
            took.append(time.perf_counter() - began)
            refused += answer.status != 200

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as http:
        await asyncio.gather(*(keep_posting(http) for _ in range(connections)))
    took.sort()
    figures = {
        "accepted": len(took) - refused,
        "refused": refused,
        "per_second": round((len(took) - refused) / seconds),
        "p50_ms": round(took[len(took) // 2] * 1000, 1),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1),
    }
    print(json.dumps(figures), flush=True)


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
    """Parse the arguments that `bench` gives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["post", "serve"])
    parser.add_argument("--url", default="")
    parser.add_argument("--secret", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size-bytes", type=int, default=20480)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--latency-s", type=float, default=0)
    given = parser.parse_args()
    if given.what == "serve":
        uvloop.run(serve(given.port, size_bytes=given.size_bytes, latency_s=given.latency_s))
    else:
        uvloop.run(
            post(
                given.url,
                secret=given.secret,
                size_bytes=given.size_bytes,
                connections=given.connections,
                seconds=given.seconds,
            )
        )


if __name__ == "__main__":
    main()
