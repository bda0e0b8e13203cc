"""`aftercall dead` as an operator uses it: real processes, from the letter to the call that arrives after all."""

import asyncio
import json
import os
from typing import Any

import aio_pika
from aiormq.exceptions import ChannelNotFoundEntity

from consumers.messages import Message
from consumers.outcomes import Reject
from consumers.settling import Schedule, settle
from tests.acceptance.conftest import Installation, Vapi, fresh_report, sample
from tests.processes import AFTERCALL, eventually
from worker.broker.deliver import read

QUEUE = "calls.enrich.default"
ENRICHED = "calls.postcall"
GARBAGE = b"{not json"


async def dead(installation: Installation, *arguments: str) -> tuple[int, str, str]:
    """The command with its exit code, standard output and standard error."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AFTERCALL_")}
    process = await asyncio.create_subprocess_exec(
        *(AFTERCALL, "dead", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited | installation.environment_of("dead", *arguments),
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def data(installation: Installation, *arguments: str) -> Any:
    code, out, err = await dead(installation, *arguments, "--output", "json")
    assert code == 0, err
    return json.loads(out)


async def listed(installation: Installation, count: int) -> list[dict[str, Any]]:
    """The letters, once there are `count`."""
    await eventually(lambda: _lie(installation, count))
    letters: list[dict[str, Any]] = await data(installation, "list")
    return letters


async def _lie(installation: Installation, count: int) -> bool:
    return sum([await installation.depth(queue) for queue in (f"{QUEUE}.dead", "calls.webhook.dead")]) >= count


async def serving(installation: Installation) -> None:
    """The endpoint, once it has declared the queues: until then it answers from its spool."""
    await installation.started("webhook")
    await eventually(lambda: _is_declared(installation))


async def _is_declared(installation: Installation) -> bool:
    try:
        return await installation.depth(ENRICHED) == 0
    except ChannelNotFoundEntity:
        return False


async def put(installation: Installation, *messages: tuple[str, str, aio_pika.Message]) -> None:
    async with await aio_pika.connect(installation.amqp_url) as connection:
        channel = await connection.channel()
        for exchange, key, message in messages:
            await (await channel.get_exchange(exchange, ensure=False)).publish(message, key)


async def reject_next(installation: Installation) -> None:
    """Settle the next notification as a handler that rejects it would."""
    (incoming,) = await installation.take(QUEUE)
    schedule = Schedule((5,), give_up_after_s=60)
    said = Reject("the enricher of last week knew no better")
    settlement = settle(read(incoming, QUEUE), said, schedule=schedule, now=1_790_000_000.0)
    for message in settlement.messages:
        await put(installation, (message.exchange, message.routing_key, _as_published(message)))


def _as_published(message: Message) -> aio_pika.Message:
    return aio_pika.Message(
        message.body,
        headers=dict(message.headers),
        type=message.type,
        correlation_id=message.call_id,
        message_id=f"{message.exchange} {message.call_id}",
    )


async def test_a_call_that_was_rejected_arrives_after_a_replay(installation: Installation, vapi: Vapi) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    await serving(installation)
    assert await installation.post(fresh_report("web")) == 200
    await reject_next(installation)
    assert await installation.post(GARBAGE) == 200
    enricher = await installation.started("consume", "enrich")
    await put(installation, ("calls.requeue", QUEUE, aio_pika.Message(GARBAGE, message_id="g")))

    letters = await listed(installation, 3)

    assert sorted((letter["queue"], letter["reason"], letter["callId"]) for letter in letters) == sorted(
        [
            (QUEUE, "rejected", call["id"]),
            (QUEUE, "undecodable", None),
            ("calls.webhook", "undecodable", None),
        ],
        key=str,
    )
    assert set(letters[0]) == {"id", "queue", "reason", "callId", "account", "attempts", "diedAt"}
    (rejected,) = [letter for letter in letters if letter["reason"] == "rejected"]

    groups = await data(installation, "groups")
    assert [group["count"] for group in groups] == [1, 1, 1]
    (group,) = [group for group in groups if group["reason"] == "rejected"]
    times = {"first": rejected["diedAt"], "last": rejected["diedAt"]}
    assert group == {"queue": QUEUE, "reason": "rejected", "count": 1, **times, "example": rejected["id"]}

    plan = await data(installation, "replay", "--reason", "rejected", "--dry-run")
    assert plan == [{"queue": QUEUE, "reason": "rejected", "count": 1, "to": QUEUE}]
    assert await installation.depth(ENRICHED) == 0, "a dry run moves nothing"

    assert await data(installation, "replay", "--id", rejected["id"]) == {"replayed": 1, "left": {}}

    (enriched,) = await installation.take(ENRICHED)
    assert json.loads(enriched.body)["callId"] == call["id"]
    assert json.loads(enriched.body)["timeline"]["attempts"] == 1
    assert len(await data(installation, "list")) == 2
    assert enricher.exit_code is None


async def test_a_letter_is_shown_with_its_story_its_headers_and_its_body(installation: Installation) -> None:
    await serving(installation)
    assert await installation.post(b'{"message": {"call": {}}}') == 200
    (letter,) = await listed(installation, 1)

    code, out, _ = await dead(installation, "show", letter["id"])
    assert code == 0
    for shown in (letter["id"], "no-type", "liesIn", "calls.webhook.dead", "message.type is missing", '"call": {}'):
        assert shown in out
    assert await dead(installation, "show", letter["id"], "--raw") == (0, '{"message": {"call": {}}}', "")
    document = await data(installation, "show", letter["id"])
    assert document["body"] == {"message": {"call": {}}}
    assert document["headers"]["x-aftercall-source"] == "webhook"


async def test_what_cannot_be_done_is_one_sentence_and_a_named_exit_code(installation: Installation) -> None:
    code, out, err = await dead(installation, "groups")
    assert (code, out) == (0, "")
    assert "`aftercall topology apply`" in err
    await serving(installation)
    for arguments, code, sentence in (
        (["show", "abcdef012345"], 1, "There is no dead letter abcdef012345"),
        (["replay", "--id", "abcdef012345"], 1, "There is no such letter: abcdef012345."),
        (["replay", "--queue", "crm"], 0, "There is no letter to replay."),
        (["replay"], 64, "say which letters to replay"),
        (
            ["replay", "--all", "--to", "nowhere"],
            64,
            "--to calls.nowhere: no such queue; there are calls.enrich.default",
        ),
        (["list", "--since", "yesterday"], 64, "--since yesterday"),
        (["discard", "--all"], 64, "there is no terminal to ask at"),
    ):
        told = await dead(installation, *arguments)
        assert (told[0], sentence in told[2]) == (code, True), told
    installation.environment["AFTERCALL_AMQP_URL"] = "amqp://127.0.0.1:1/"
    code, out, err = await dead(installation, "list")
    assert (code, out, "nothing listens at AFTERCALL_AMQP_URL" in err) == (69, "", True)
