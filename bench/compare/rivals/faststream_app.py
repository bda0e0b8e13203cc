"""FastAPI in front, FastStream's subscriber behind it, with aiohttp's client; run as a program it is the worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvloop
from fastapi import FastAPI, HTTPException, Request
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from given import AMQP, API, CALLS, CONCURRENCY, ENRICHED, HEADERS, SECRET, TIMEOUT_S, TRIES
from tenacity import retry, stop_after_attempt, wait_exponential

QUIET = 40
calls = RabbitQueue(CALLS, queue_type=QueueType.QUORUM, durable=True)
enriched = RabbitQueue(ENRICHED, queue_type=QueueType.QUORUM, durable=True)
broker = RabbitBroker(AMQP, default_channel=Channel(prefetch_count=CONCURRENCY), log_level=QUIET)
worker = FastStream(broker)
http: list[aiohttp.ClientSession] = []


@worker.on_startup
async def start() -> None:
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    timeout = aiohttp.ClientTimeout(TIMEOUT_S)
    http.append(aiohttp.ClientSession(API, headers=HEADERS, timeout=timeout, connector=connector))


@worker.after_startup
async def declare() -> None:
    await broker.declare_queue(enriched)


@retry(wait=wait_exponential(), stop=stop_after_attempt(TRIES))
async def get_call(call_id: str) -> Any:
    async with http[0].get(f"/call/{call_id}", raise_for_status=True) as answer:
        return await answer.json()


@broker.subscriber(calls)
async def enrich(notification: dict[str, Any]) -> None:
    call = await get_call(notification["message"]["call"]["id"])
    await broker.publish({"notification": notification, "call": call}, queue=ENRICHED, persist=True)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await publisher.connect()
    await publisher.declare_queue(calls)
    yield
    await publisher.stop()


publisher = RabbitBroker(AMQP)
app = FastAPI(lifespan=lifespan)


@app.post("/webhook")
async def webhook(payload: dict[str, Any], request: Request) -> dict[str, Any]:
    if request.headers.get("x-vapi-secret") != SECRET:
        raise HTTPException(401)
    await publisher.publish(payload, queue=CALLS, persist=True)
    return {}


if __name__ == "__main__":
    uvloop.run(worker.run(log_level=QUIET))
