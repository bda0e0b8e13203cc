"""The target that tests and the demo post to."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from worker.simulate.target import Answer, Target, answer_of, served


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/hook", Answer()),
        ("/status/503/retry-after/2", Answer(status=503, retry_after="2")),
        ("/a/delay/0.5/b", Answer(delay_s=0.5)),
        ("/redirect/308", Answer(status=308, location="http://10.0.0.1/")),
    ],
)
def test_the_path_says_how_it_is_answered(path: str, answer: Answer) -> None:
    assert answer_of(path, "http://10.0.0.1/", Answer()) == answer


def test_what_the_path_leaves_open_is_as_was_asked_for() -> None:
    asked = Answer(status=500, body="oh", delay_s=3)

    assert answer_of("/status/200", "", asked) == Answer(status=200, body="oh", delay_s=3)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with served(Target()) as url, aiohttp.ClientSession(url) as session:
        yield session


async def received(http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with http.get("/_simulate/received") as answer:
        return list(await answer.json())


async def test_it_keeps_what_it_was_posted_until_it_is_told_to_forget(http: aiohttp.ClientSession) -> None:
    async with http.post("/hook?a=1", data=b'{"x": 1}', headers={"X-Own": "y"}) as answer:
        assert (answer.status, await answer.text()) == (200, '{"ok": true}')

    (came,) = await received(http)
    assert (came["method"], came["path"], came["body"]) == ("POST", "/hook?a=1", '{"x": 1}')
    assert came["headers"]["x-own"] == "y"
    await http.delete("/_simulate/received")
    assert await received(http) == []


async def test_it_answers_as_it_was_told_last(http: aiohttp.ClientSession) -> None:
    await http.put("/_simulate/answer", json={"status": 200, "body": '{"error": "no such list"}', "retry_after": "3"})
    async with http.post("/hook") as answer:
        assert (await answer.json(), answer.headers["Retry-After"]) == ({"error": "no such list"}, "3")

    async with http.put("/_simulate/answer", data=b'{"stats": 1}') as answer:
        assert answer.status == 400
