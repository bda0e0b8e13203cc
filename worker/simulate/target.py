"""A target to post to: keeps what it is sent, answers as told. `python -m worker.simulate.target --port N`.

The path says how a request is answered, each part if it is there, e.g. `/status/503/retry-after/2` or `/delay/30`:

    /status/<code>  /delay/<seconds>  /retry-after/<seconds>  /redirect/<code>?to=<URL>

`GET /_simulate/received` tells what came, oldest first, `DELETE` forgets it, and `PUT /_simulate/answer` with JSON such
as `{"status": 500, "body": "…"}` says how whatever comes from now on is answered, but for what its path says.
"""

import argparse
import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import orjson
from aiohttp import web

PART: Final = re.compile(r"/(status|delay|retry-after|redirect)/([0-9.]+)")


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a request is answered, after `delay_s` seconds."""

    status: int = 200
    body: str = '{"ok": true}'
    delay_s: float = 0.0
    retry_after: str = ""
    location: str = ""


class Target:
    """What was received, as JSON has it: `method`, `path` (with its query), `headers` (names in lower case), `body`."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.answer = Answer()

    def application(self) -> web.Application:
        """What serves it."""
        application = web.Application(client_max_size=2**28)
        application.router.add_get("/_simulate/received", self._tell)
        application.router.add_delete("/_simulate/received", self._forget)
        application.router.add_put("/_simulate/answer", self._change)
        application.router.add_route("*", "/{path:.*}", self._receive)
        return application

    async def _receive(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode("utf-8", "backslashreplace")
        headers = {name.lower(): value for name, value in request.headers.items()}
        told = {"method": request.method, "path": request.path_qs, "headers": headers, "body": body, "at": time.time()}
        self.received.append(told)
        answer = answer_of(request.path, request.query.get("to", ""), self.answer)
        await asyncio.sleep(answer.delay_s)
        given = {"Retry-After": answer.retry_after, "Location": answer.location}
        return web.Response(
            status=answer.status,
            text=answer.body,
            content_type="application/json",
            headers={name: value for name, value in given.items() if value},
        )

    async def _tell(self, _request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self.received), content_type="application/json")

    async def _forget(self, _request: web.Request) -> web.Response:
        self.received.clear()
        return web.Response(status=204)

    async def _change(self, request: web.Request) -> web.Response:
        try:
            self.answer = msgspec.json.decode(await request.read(), type=Answer)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=str(error))
        return web.Response(status=204)


def answer_of(path: str, to: str, otherwise: Answer) -> Answer:
    """How a request for `path` is answered: as its parts say, and in the rest as `otherwise`."""
    said = dict(PART.findall(path))
    redirect = said.get("redirect")
    return msgspec.structs.replace(
        otherwise,
        status=int(redirect or said.get("status", otherwise.status)),
        delay_s=float(said.get("delay", otherwise.delay_s)),
        retry_after=said.get("retry-after", otherwise.retry_after),
        location=to if redirect else otherwise.location,
    )


@asynccontextmanager
async def served(target: Target, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve a target (0: on a free port); the URL of it, without a slash at its end."""
    runner = web.AppRunner(target.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _serve(host: str, port: int) -> None:
    async with served(Target(), host, port) as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; the URL is printed once it listens."""
    parser = argparse.ArgumentParser(prog="python -m worker.simulate.target", description="A target to post to.")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    asked = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(asked.host, asked.port))
    except OSError as error:
        sys.stderr.write(f"cannot listen at {asked.host}:{asked.port}: {error}\n")
        return 69
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
