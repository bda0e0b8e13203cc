"""The plain reference, `plain.py endpoint|worker`: our own stack by hand, with retries and confirms, no more."""

import asyncio
import hmac
import sys

import aio_pika
import aiohttp
import orjson
import uvloop
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aiohttp import web
from given import AMQP, API, CALLS, CONCURRENCY, ENRICHED, HEADERS, PORT, QUORUM, SECRET, TIMEOUT_S, TRIES
from tenacity import retry, stop_after_attempt, wait_exponential

LARGEST = 16 * 2**20


def message(body: bytes, call_id: str) -> aio_pika.Message:
    return aio_pika.Message(body, delivery_mode=2, content_type="application/json", message_id=call_id)


async def declared(channel: AbstractChannel, name: str) -> AbstractQueue:
    return await channel.declare_queue(name, durable=True, arguments=QUORUM)


async def endpoint() -> None:
    channel = await (await aio_pika.connect_robust(AMQP)).channel()
    await declared(channel, CALLS)

    async def webhook(request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.headers.get("x-vapi-secret", ""), SECRET):
            raise web.HTTPUnauthorized
        body = await request.read()
        call_id = orjson.loads(body)["message"]["call"]["id"]
        await channel.default_exchange.publish(message(body, call_id), CALLS)
        return web.Response()

    app = web.Application(client_max_size=LARGEST)
    app.router.add_post("/webhook", webhook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    await asyncio.Event().wait()


async def worker() -> None:
    connection = await aio_pika.connect_robust(AMQP)
    inbound, outbound = await connection.channel(), await connection.channel()
    await inbound.set_qos(prefetch_count=CONCURRENCY)
    await declared(outbound, ENRICHED)
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    http = aiohttp.ClientSession(API, headers=HEADERS, timeout=aiohttp.ClientTimeout(TIMEOUT_S), connector=connector)

    @retry(wait=wait_exponential(), stop=stop_after_attempt(TRIES))
    async def get_call(call_id: str) -> bytes:
        async with http.get(f"/call/{call_id}", raise_for_status=True) as answer:
            return await answer.read()

    async def enrich(incoming: AbstractIncomingMessage) -> None:
        async with incoming.process(requeue=True):
            call_id = orjson.loads(incoming.body)["message"]["call"]["id"]
            call = await get_call(call_id)
            if orjson.loads(call)["status"] != "ended":
                raise ValueError("the call has not ended")
            joined = {"notification": orjson.Fragment(incoming.body), "call": orjson.Fragment(call)}
            await outbound.default_exchange.publish(message(orjson.dumps(joined), call_id), ENRICHED)

    await (await declared(inbound, CALLS)).consume(enrich)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run({"endpoint": endpoint, "worker": worker}[sys.argv[1]]())
