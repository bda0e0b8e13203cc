"""What of HTTP the endpoint takes and what not, byte by byte: framing, paths, versions, headers, compression."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from tests.integration.public_port import REPORT, Port, public_port, request

ACCEPTED = ("default", REPORT)
BOMB = gzip.compress(b" " * 50_000_000)
CHUNKED = "Transfer-Encoding: chunked"


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def to(path: str) -> bytes:
    return request(start=f"POST {path} HTTP/1.1")


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with public_port(changes={"ACCOUNTS__ACME__WEBHOOK_SECRETS": "other"}) as served:
        yield served


async def heard(port: Port, sent: bytes, answers: int = 0) -> tuple[list[int], list[tuple[str, bytes]]]:
    """The status codes of so many answers, or of all up to the end; and the accounts and bodies accepted."""
    statuses = await port.talk(sent, answers=answers)
    taken = [(str(message.headers["x-aftercall-account"]), message.body) for message in port.accepted]
    assert await port.talk(request(), answers=1) == [200], "it serves no more"
    return statuses, taken


# A body whose end two readers could see in two places is what request smuggling needs: it is refused, and all after it.
AMBIGUOUS = {
    "length and chunks": request(CHUNKED, body=b"0\r\n\r\n" + request()),
    "chunks of two spellings": request("Transfer-Encoding: chunked, identity", length=False, body=chunked(REPORT)),
    "chunks said twice": request(CHUNKED, CHUNKED, length=False, body=chunked(REPORT)),
    "chunks not at the end": request("Transfer-Encoding: xchunked", length=False, body=chunked(REPORT)),
    "chunks behind a blank": request("Transfer-Encoding : chunked", body=chunked(REPORT)),
    "chunks on a folded line": request("Transfer-Encoding:\r\n chunked", body=chunked(REPORT)),
    "one length twice": request(f"Content-Length: {len(REPORT)}"),
    "two lengths": request("Content-Length: 1"),
    "a list of lengths": request("Content-Length: 5, 5", length=False),
    "a length with a sign": request(f"Content-Length: +{len(REPORT)}", length=False),
    "a negative length": request("Content-Length: -1", length=False),
    "a length in hexadecimal": request("Content-Length: 0x5", length=False),
    "a length that Python reads": request("Content-Length: 5_0", length=False),
    "a length in other digits": request("Content-Length: \xb2", length=False),
    "an endless length": request("Content-Length: " + "9" * 40, length=False),
    "an empty length": request("Content-Length: ", length=False),
    "a body of no length": request(length=False),
    "a chunk of negative size": request(CHUNKED, length=False, body=b"-1\r\n"),
    "a chunk larger than numbers go": request(CHUNKED, length=False, body=b"f" * 17 + b"\r\n"),
    "a chunk's size as Python writes it": request(CHUNKED, length=False, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk that goes on": request(CHUNKED, length=False, body=b"5\r\nhelloXX0\r\n\r\n"),
    "chunks with bare line feeds": request(CHUNKED, length=False, body=chunked(REPORT).replace(b"\r\n", b"\n")),
    "bare line feeds": request().replace(b"\r\n", b"\n"),
    "a bare carriage return": request("X-A: b\rX-C: d"),
    "a NUL": request("X-A: b\0c"),
    "a header without a name": request(": b"),
    "a header whose name has a blank": request("X A: b"),
    "a folded header": request("X-A: b\r\n c"),
    "no host": request().replace(b"Host: aftercall.test\r\n", b""),
    "two hosts": request("Host: another.test"),
    "no path": request(start="POST * HTTP/1.1"),
    "half a path": request(start="POST webhooks/vapi HTTP/1.1"),
    "a method in small letters": request(start="post /webhooks/vapi HTTP/1.1"),
    "a method of nobody's": request(start="BREW /webhooks/vapi HTTP/1.1"),
    "another version": request(start="POST /webhooks/vapi HTTP/1.2"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a1030300") + b"x" * 100,
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_what_could_be_read_in_two_ways_is_a_400_and_nothing_of_it_is_accepted(port: Port, sent: bytes) -> None:
    assert await heard(port, sent) == ([400], [])


async def test_what_stands_behind_a_bad_request_is_not_looked_at(port: Port) -> None:
    assert await heard(port, request("Content-Length: 1") + request() * 3) == ([400], [])


PLAIN = {
    "chunks": request(CHUNKED, length=False, body=chunked(REPORT[:7], REPORT[7:])),
    "chunks with extensions": request(CHUNKED, length=False, body=b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(REPORT), REPORT)),
    "chunks with trailers": request(CHUNKED, length=False, body=chunked(REPORT, end=b"0\r\nX-Vapi-Secret: x\r\n\r\n")),
    "HTTP/1.0": request(start="POST /webhooks/vapi HTTP/1.0"),
    "HTTP/1.0 without a host": request(start="POST /webhooks/vapi HTTP/1.0").replace(b"Host: aftercall.test\r\n", b""),
    "an address as proxies get it": request(start="POST http://elsewhere.test/webhooks/vapi HTTP/1.1"),
    "a query": to("/webhooks/vapi?" + "a=b&" * 100),
    "an encoded letter": to("/%77ebhooks/vapi/%64efault"),
    "a wish for another protocol": request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
    "a wish for a web socket": request("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "another type of content": request("Content-Type: multipart/form-data; boundary=x"),
    "an empty line before it": b"\r\n" + request(),
}


@pytest.mark.parametrize("sent", PLAIN.values(), ids=PLAIN)
async def test_what_can_be_read_in_one_way_alone_is_accepted(port: Port, sent: bytes) -> None:
    assert await heard(port, sent, answers=1) == ([200], [ACCEPTED])


@pytest.mark.parametrize(
    "path",
    [
        *("//webhooks/vapi", "/webhooks//vapi", "/webhooks/vapi/", "/webhooks/vapi//", "/webhooks/vapi/default/"),
        *("/./webhooks/vapi", "/webhooks/../webhooks/vapi", "/webhooks/vapi/..", "/webhooks/vapi/acme/../default"),
        *("/webhooks/vapi/%2e%2e", "/webhooks/vapi/%2e%2e/vapi", "/webhooks/vapi/acme%2f..%2fdefault"),
        *("/webhooks%2fvapi", "/webhooks%2Fvapi%2Fdefault", "/webhooks\\vapi", "/webhooks/vapi/default%252f"),
        *("/webhooks/vapi/default%00", "/webhooks/vapi/default%20", "/webhooks/vapi/default%0d%0a"),
        *("/webhooks/vapi/DEFAULT", "/WEBHOOKS/vapi", "/webhooks/vapi/default;x=1", "/webhooks/vapi/default,acme"),
        *("/webhooks/vapi/%ff", "/webhooks/vapi/%E2%80%AE", "/webhooks/vapi/%", "/webhooks/vapi/%zz"),
        *("/webhooks/vapi/" + "a" * 8000, "/webhooks/vapi/{account}", "/webhooks/vapi/*", "/webhooks/vapi/__class__"),
    ],
)
async def test_a_path_that_only_looks_like_ours_is_a_404(port: Port, path: str) -> None:
    assert await heard(port, to(path), answers=1) == ([404], [])


@pytest.mark.parametrize("path", ["/webhooks/vapi/\xe9", "/webhooks/vapi/" + "a" * 9000, "/webhooks/vapi/a b"])
async def test_a_path_that_is_none_is_a_400(port: Port, path: str) -> None:
    assert await heard(port, to(path)) == ([400], [])


@pytest.mark.parametrize(
    "path", ["/webhooks/vapi/acme", "/webhooks/vapi/%61cme", "/webhooks/vapi/acme?account=default"]
)
async def test_whatever_way_an_account_is_written_its_own_secret_is_asked_for(port: Port, path: str) -> None:
    assert await heard(port, to(path), answers=1) == ([401], [])


async def test_pipelined_requests_are_answered_in_their_order_and_each_is_accepted(port: Port) -> None:
    bodies = [b'{"message": {"type": "end-of-call-report", "call": {"id": "call-%d"}}}' % each for each in range(500)]
    wrong = request(secret="wrong")

    sent = b"".join(request(body=body) + wrong for body in bodies)
    statuses = await port.talk(sent, answers=1000)

    assert statuses == [200, 401] * 500
    assert [message.body for message in port.accepted] == bodies


async def test_credentials_of_one_request_are_none_for_the_next_on_the_same_connection(port: Port) -> None:
    assert await port.talk(request() + request(secret="") + request(), answers=3) == [200, 401, 200]


FLOODS = {
    "1,000 headers": request(*(f"X-{number}: y" for number in range(1000))),
    "a long header": request("X-A: " + "y" * 10_000),
    "a header with a long name": request("X" * 10_000 + ": y"),
    "a header without end": request("X-A: ")[: -4 - len(REPORT)] + b"y" * 5_000_000,
    "headers without end": request()[: -2 - len(REPORT)] + b"X-A: y\r\n" * 500_000,
    "trailers without end": request(CHUNKED, length=False, body=chunked(REPORT, end=b"0\r\n" + b"X: y\r\n" * 100_000)),
}


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_headers_is_a_400_and_nothing_of_it_is_accepted(port: Port, sent: bytes) -> None:
    assert await heard(port, sent) == ([400], [])


async def test_as_many_headers_as_proxies_add_are_no_flood(port: Port) -> None:
    assert await heard(port, request(*(f"X-{number}: {'y' * 100}" for number in range(100))), answers=1) == (
        [200],
        [ACCEPTED],
    )


@pytest.mark.parametrize(
    "encodings",
    [["gzip"], ["GZIP"], ["deflate"], ["br"], ["zstd"], ["identity, gzip"], ["identity", "gzip"], [""], ["x-gzip"]],
)
async def test_a_compressed_body_is_a_415_however_that_is_said(port: Port, encodings: list[str]) -> None:
    said = [f"Content-Encoding: {each}" for each in encodings]

    assert await heard(port, request(*said, body=BOMB), answers=1) == ([415], [])


async def test_a_body_that_is_compressed_for_its_way_alone_is_kept_as_it_came(port: Port) -> None:
    """A transfer coding that we do not undo: authenticated bytes are parked, and never inflated."""
    sent = request("Transfer-Encoding: gzip, chunked", length=False, body=chunked(BOMB))

    assert await heard(port, sent, answers=1) == ([200], [("default", BOMB)])


async def test_a_client_is_told_to_go_on_only_if_that_is_what_it_expects(port: Port) -> None:
    assert await port.talk(request("Expect: 100-continue"), answers=2) == [100, 200]
    assert await port.talk(request("Expect: a-miracle"), answers=1) == [417]


async def test_many_who_send_nothing_but_bad_requests_stop_nobody_else(port: Port) -> None:
    sent = [*AMBIGUOUS.values(), *FLOODS.values()]
    *_, served = await asyncio.gather(*map(port.talk, sent), port.talk(request(), request(), answers=2))

    assert served == [200, 200]
