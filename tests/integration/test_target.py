"""The client of a target, against real servers that answer as none should."""

import asyncio
import base64
import gzip
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from consumers.outcomes import Reject, Retry
from tests.integration.targets import BODY, ID, Server, client, playing, refusal, refused, serving
from tests.integration.vapi_api import Play, cut_off, drip, endless
from worker.settings import Secret
from worker.simulate.rabbitmq import free_ports

KEY, NEW = (f"whsec_{base64.b64encode(key * 24).decode()}" for key in (b"k", b"n"))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as started:
        yield started


async def test_a_call_is_posted_signed_so_that_the_official_library_takes_it(server: Server) -> None:
    async with client(f"{server.url}/hook?a=%2F", f"zapier={KEY}", headers={"X-Tenant": "acme"}) as target:
        await target.post(ID, BODY)

    (received,) = server.received
    assert (received["method"], received["path"], received["body"]) == ("POST", "/hook?a=%2F", BODY.decode())
    assert Webhook(KEY).verify(received["body"], received["headers"]) == orjson.loads(BODY)
    told = received["headers"]
    assert (told["webhook-id"], told["content-type"], told["x-tenant"]) == (ID, "application/json", "acme")
    assert told["user-agent"].startswith("aftercall")
    assert abs(int(told["webhook-timestamp"]) - time.time()) < 5


async def test_a_call_of_megabytes_is_posted_whole(server: Server) -> None:
    body = orjson.dumps({"transcript": "Hello. " * 400_000})
    async with client(f"{server.url}/hook", f"zapier={KEY}") as target:
        await target.post(ID, body)

    (received,) = server.received
    Webhook(KEY).verify(received["body"], received["headers"])
    assert received["headers"]["content-length"] == str(len(body))


async def test_a_rotated_secret_is_used_from_the_next_post_on_and_one_that_cannot_be_read_is_not(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"zapier={KEY}")
    async with client(f"{server.url}/hook", Secret(path=str(file))) as target:
        for number, text in enumerate((f"zapier={KEY}", f"zapier={NEW},zapier={KEY}", "rubbish", "")):
            file.write_text(text)
            os.utime(file, (number, number))  # its time tells that it was changed
            await target.post(ID, BODY)

    for received in server.received:
        Webhook(KEY).verify(received["body"], received["headers"])
    for received in server.received[1:]:
        Webhook(NEW).verify(received["body"], received["headers"])


async def test_a_secret_header_is_kept_while_its_file_is_empty(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("zapier=Authorization: Bearer t0ken")
    async with client(f"{server.url}/hook", Secret(path=str(file))) as target:
        file.write_text("")
        os.utime(file, (1, 1))
        await target.post(ID, BODY)

    assert server.received[0]["headers"]["authorization"] == "Bearer t0ken"


async def test_an_unsigned_target_is_posted_to_and_named_once(server: Server) -> None:
    with capture_logs() as logs:
        async with client(f"{server.url}/hook", "zapier=Authorization: Bearer t0ken-of-mine") as target:
            await target.post(ID, BODY)
            await target.post(ID, BODY)

    assert "webhook-signature" not in server.received[0]["headers"]
    assert server.received[0]["headers"]["authorization"] == "Bearer t0ken-of-mine"
    assert [(line["event"], line["target"]) for line in logs] == [("forward.unsigned", "zapier")]


async def test_a_redirect_is_not_followed(server: Server) -> None:
    server.answers(status=307, location=f"{server.url}/elsewhere")

    error = await refusal(f"{server.url}/hook")

    assert isinstance(error, Reject)
    assert error.reason == "answers 307, and redirects are not followed: set its url to the new address"
    assert [each["path"] for each in server.received] == ["/hook"]


async def test_a_target_that_never_answers_is_tried_later_and_then_left_alone(server: Server) -> None:
    server.answers(delay_s=3600)
    with capture_logs() as logs:
        async with client(f"{server.url}/hook", f"zapier={KEY}", timeout_s=0.2) as target:
            errors = [await refused(target) for _ in range(3)]

    assert all(isinstance(error, Retry) for error in errors)
    assert errors[0].reason == "does not answer within 0.2 s"
    assert errors[2].reason == "is left alone for 60 s: it does not answer within 0.2 s"
    assert len(server.received) == 2
    assert [line["event"] for line in logs] == ["forward.paused"]


async def test_a_target_that_is_not_there_is_tried_later() -> None:
    error = await refusal(f"http://127.0.0.1:{free_ports(1)[0]}/secret-path")

    assert isinstance(error, Retry)
    assert error.reason.startswith("cannot be reached: ")
    assert "secret-path" not in error.reason


@pytest.mark.parametrize("url", ["http://nowhere.invalid/hook", "https://{host}/hook"])
async def test_a_name_or_a_certificate_that_is_wrong_is_tried_later(server: Server, url: str) -> None:
    error = await refusal(url.format(host=server.url.removeprefix("http://")))

    assert isinstance(error, Retry)
    assert error.reason.startswith("cannot be reached: ")


async def test_a_target_that_cuts_the_connection_is_tried_later() -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with playing(hang_up) as url:
        error = await refusal(url)

    assert isinstance(error, Retry)
    assert error.reason == "cannot be reached: ServerDisconnectedError"


async def test_410_stops_the_target_for_all_calls_and_says_so_once(server: Server) -> None:
    server.answers(status=410)
    with capture_logs() as logs:
        async with client(f"{server.url}/hook", f"zapier={KEY}") as target:
            assert _stopped() == 0
            errors = [await refused(target) for _ in range(3)]

    assert all(isinstance(error, Reject) for error in errors)
    assert {error.reason for error in errors} == {
        "answered 410, it is gone: nothing is posted to it until a restart; take it out, or set its url"
    }
    assert len(server.received) == 1
    assert [(line["event"], line["log_level"]) for line in logs] == [("forward.stopped", "error")]
    assert _stopped() == 1


def _stopped() -> float | None:
    return REGISTRY.get_sample_value("aftercall_forward_stopped", {"target": "zapier"})


@pytest.mark.parametrize("status", [429, 503])
async def test_a_target_that_asks_for_time_is_given_it(server: Server, status: int) -> None:
    server.answers(status=status, retry_after="90")
    async with client(f"{server.url}/hook") as target:
        first, second = await refused(target), await refused(target)

    assert isinstance(first, Retry)
    assert isinstance(second, Retry)
    assert (first.reason, first.after) == (f"answers {status}", 90)
    assert second.reason == f"is left alone for 90 s: it answered {status}, and asked for it"
    assert len(server.received) == 1


async def test_a_refusal_that_asks_for_time_does_not_stop_the_others(server: Server) -> None:
    server.answers(status=400, retry_after="90")
    async with client(f"{server.url}/hook") as target:
        assert [str(await refused(target)) for _ in range(2)] == ["answers 400", "answers 400"]


async def test_a_200_that_tells_of_an_error_is_tried_again_where_success_is_told(server: Server) -> None:
    server.answers(body='{"status": "error", "message": "no such list"}')
    told = {"success_path": "status", "success_equals": "ok"}

    error = await refusal(f"{server.url}/hook", **told)

    assert isinstance(error, Retry)
    assert "no such list" in error.reason
    server.answers(body='{"status": "ok"}')
    async with client(f"{server.url}/hook", **told) as target:
        await target.post(ID, BODY)


@pytest.mark.parametrize("play", [cut_off, drip, endless])
async def test_a_200_took_the_call_whatever_becomes_of_its_body_which_is_not_waited_for(play: Play) -> None:
    async with playing(play) as url, client(url, timeout_s=30) as target, asyncio.timeout(5):
        await target.post(ID, BODY)


async def test_an_answer_that_never_ends_does_not_keep_the_call_and_tells_its_status() -> None:
    async def endless_refusal(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=422)
        await response.prepare(request)
        await response.write(b"no such field ")
        return await _forever()

    async with playing(endless_refusal) as url:
        error = await refusal(url, timeout_s=0.3)

    assert isinstance(error, Reject)
    assert error.reason == "answers 422: “no such field”"


async def _forever() -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def test_an_answer_that_quotes_our_headers_is_told_without_them(server: Server) -> None:
    server.answers(status=401, body="bad token t0ken-of-mine for tenant acme-dental")

    error = await refusal(
        f"{server.url}/hook", secret="zapier=Authorization: Bearer t0ken-of-mine", headers={"X-Tenant": "acme-dental"}
    )

    assert error.reason == "answers 401: “bad token ******** for tenant ********”"


async def test_an_answer_that_quotes_the_call_is_told_without_what_was_said_in_it() -> None:
    body = orjson.dumps({"summary": 'Priya asked for "Dr. Jones". ' * 100, "name": "Priya", "score": 7})

    async def validate(request: web.Request) -> web.StreamResponse:
        """As FastAPI refuses what lacks a field."""
        detail = {"type": "missing", "loc": ["body", "phone"], "msg": "Field required", "input": await request.json()}
        return web.json_response({"detail": [detail]}, status=422)

    async with playing(validate) as url, client(url) as target:
        with pytest.raises(Reject) as refused:
            await target.post(ID, body)

    assert '"loc": ["body", "phone"], "msg": "Field required", "input": {"summary": "…' in refused.value.reason
    assert not [word for word in ("Priya", "Jones", "asked") if word in refused.value.reason]


async def test_an_answer_that_quotes_the_path_does_not_tell_what_is_secret_in_it(server: Server) -> None:
    server.answers(status=404, body="Cannot POST /webhook/5d8fa0e1/calls, no 5d8fa0e1 is registered")

    error = await refusal(f"{server.url}/webhook/5d8fa0e1/calls?key=k3y-of-mine")

    assert error.reason == "answers 404: “Cannot POST ********, no ******** is registered”"


async def test_an_answer_that_would_swell_is_not_unpacked() -> None:
    async def bomb(_request: web.Request) -> web.StreamResponse:
        body = gzip.compress(b"z" * 50_000_000)
        return web.Response(status=400, body=body, headers={"Content-Encoding": "gzip"})

    async with playing(bomb) as url:
        error = await refusal(url)

    assert isinstance(error, Reject)
    assert "zzz" not in error.reason
