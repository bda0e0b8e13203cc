"""Bytes that nobody thought of: whatever comes, the endpoint answers, accepts nothing from strangers, and serves on."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.public_port import REPORT, Port, public_port, request, statuses

KNOWN = {100, 200, 400, 401, 404, 405, 408, 413, 415, 417}
SOON_S = 0.1
AT_A_TIME = 20

TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"0",
        b"-1",
        b"f" * 17,
        b"\xff\xfe",
        b"%2e%2e/",
        b"//",
    ),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n"),
    *(b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"Host: b\r\n", b"HTTP/1.0", b"HTTP/9.9", b"GET / "),
    *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"\r\n\r\n", b"Authorization: Bearer \xe9\r\n", b"x-signature: zz\r\n"),
    *(b"x-timestamp: 1e999\r\n", b"traceparent: " + b"-" * 55 + b"\r\n", b"/webhooks/vapi/acme", b'{"message":'),
)
BEGINNINGS = (
    request(),
    request(secret=""),
    request(secret="", start="POST /webhooks/vapi/acme HTTP/1.1"),
    request("x-timestamp: 1", "x-signature: 00", secret="", start="POST /webhooks/vapi/acme HTTP/1.1"),
    request("Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(REPORT), REPORT), length=False),
    request() + request(secret="") + request(),
)
PIECES = st.sampled_from(TOKENS) | st.binary(max_size=20)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A request with some of it taken out, put in, doubled or changed."""
    sent = draw(st.sampled_from(BEGINNINGS))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(sent)))
        end = draw(st.integers(begin, min(len(sent), begin + 30)))
        sent = sent[:begin] + draw(PIECES | st.just(sent[begin:end] * 2)) + sent[end:]
    return sent


SENT = spoilt() | st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=200)


@dataclass(repr=False)
class Fuzzed:
    """A port on the loop that the roles run on, and what went wrong in it."""

    runner: asyncio.Runner
    port: Port
    trouble: list[Any] = field(default_factory=list)

    async def send(self, sent: list[bytes]) -> None:
        heard = await asyncio.gather(*map(self._write, sent))
        assert await self.port.talk(request(), answers=1) == [200], "it serves no more"
        assert set().union(*heard) <= KNOWN
        assert not self.trouble

    async def _write(self, sent: bytes) -> set[int]:
        """The status codes that are answered within the time after which the endpoint closes what is idle."""
        line, heard = await self.port.open(sent), bytearray()
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(SOON_S * 2):
                while more := await line[0].read(2**16):
                    heard += more
        line[1].close()
        return set(statuses(heard))


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        serving = public_port(
            idle_s=SOON_S,
            body_s=SOON_S,
            changes={"ACCOUNTS__ACME__WEBHOOK_SECRETS": "other", "ACCOUNTS__ACME__WEBHOOK_AUTH": "hmac"},
        )
        found = Fuzzed(runner, runner.run(serving.__aenter__()))
        runner.get_loop().set_exception_handler(lambda _loop, context: found.trouble.append(context))
        log = logging.getLogger("aiohttp.server")

        def watch(record: logging.LogRecord) -> bool:
            """Keep what is no complaint about the request."""
            if not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)):
                found.trouble.append(record.exc_info)
            return False

        log.addFilter(watch)
        yield found
        log.removeFilter(watch)
        runner.run(serving.__aexit__(None, None, None))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SENT, min_size=AT_A_TIME, max_size=AT_A_TIME))
def test_whatever_is_sent_is_answered_by_the_table_and_the_next_is_served(fuzzed: Fuzzed, sent: list[bytes]) -> None:
    fuzzed.runner.run(fuzzed.send(sent))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SENT, min_size=AT_A_TIME, max_size=AT_A_TIME))
def test_whatever_is_sent_without_the_secret_nothing_is_accepted(fuzzed: Fuzzed, sent: list[bytes]) -> None:
    accepted = len(fuzzed.port.accepted)
    fuzzed.runner.run(fuzzed.send([each.replace(b"s3cret", b"wrong") for each in sent]))
    assert len(fuzzed.port.accepted) == accepted + 1, "the one that shows that it serves on"


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=300) | st.text().map(str.encode), min_size=AT_A_TIME, max_size=AT_A_TIME))
def test_whatever_the_body_is_it_is_accepted_untouched_if_the_secret_is_good(
    fuzzed: Fuzzed, bodies: list[bytes]
) -> None:
    fuzzed.port.accepted.clear()
    fuzzed.runner.run(fuzzed.send([request("Connection: close", body=body) for body in bodies]))
    assert sorted(message.body for message in fuzzed.port.accepted) == sorted([*bodies, REPORT])
