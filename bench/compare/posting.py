"""Posting at a steady pace, and hearing when each call has come out at the other end."""

import asyncio
import re
import time
from typing import Final

import aio_pika
import aiohttp
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from bench.bodies import PLACE
from bench.compare.broker import Queues
from bench.compare.contestants import SECRET
from bench.compare.programs import Failed

A_SECOND: Final = 100
WARM_S: Final = 1
LAST_S: Final = 10.0
PREFETCH: Final = 256
ID: Final = re.compile(rb"paced-\d+")


def pace(url: str, body: bytes, queues: Queues, seconds: int) -> list[float]:
    """How many seconds each call took, from the start of its post, sorted; those of the first second are left out.

    Raises `Failed` if one did not come out.
    """
    return uvloop.run(_pace(url, body, queues, seconds))


def percentile(took: list[float], percent: int) -> float:
    """Of a sorted list."""
    return took[min(len(took) - 1, len(took) * percent // 100)]


async def _pace(url: str, body: bytes, queues: Queues, seconds: int) -> list[float]:
    sent: dict[bytes, float] = {}
    took: dict[bytes, float] = {}
    everything = asyncio.Event()
    count = (WARM_S + seconds) * A_SECOND

    async def arrived(message: AbstractIncomingMessage) -> None:
        if (found := ID.search(message.body)) and found[0] not in took:
            took[found[0]] = time.perf_counter() - sent[found[0]]
        await message.ack()
        if len(took) == count:
            everything.set()

    async with await aio_pika.connect(queues.amqp_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        await (await channel.get_queue(queues.enriched, ensure=False)).consume(arrived)
        await _post_all(url, body, sent, count)
        try:
            await asyncio.wait_for(everything.wait(), LAST_S)
        except TimeoutError as error:
            raise Failed(f"{count - len(took)} of {count} calls did not come out") from error
    return sorted(took[call_id] for call_id in list(sent)[WARM_S * A_SECOND :])


async def _post_all(url: str, body: bytes, sent: dict[bytes, float], count: int) -> None:
    headers = {"Content-Type": "application/json", "X-Vapi-Secret": SECRET}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as http, asyncio.TaskGroup() as posts:

        async def post(call_id: bytes) -> None:
            sent[call_id] = time.perf_counter()
            async with http.post(url, data=body.replace(PLACE, call_id)):
                pass

        began = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / A_SECOND - time.perf_counter()))
            posts.create_task(post(b"paced-%030d" % number))
