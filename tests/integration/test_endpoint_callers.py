"""Who may post to the endpoint, how it tells them apart, and what becomes of those it refuses again and again."""

import hmac
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.integration.public_port import REPORT, Port, public_port, request, settings, statuses
from worker.ingress.callers import Callers, Refusals, networks
from worker.ingress.signature import signer

MOST = 5
LOCAL = networks(["127.0.0.1"])
WRONG = request(secret="wrong")


@pytest.fixture
async def strict() -> AsyncIterator[Port]:
    """An endpoint behind a proxy on this machine, that bears five refusals a minute."""
    parts: dict[str, Any] = {"callers": Callers((), LOCAL), "refusals": Refusals(MOST), "clock": lambda: 30.0}
    async with public_port(**parts, changes={"ACCOUNTS__ACME__WEBHOOK_SECRETS": "other"}) as served:
        yield served


def of(address: str, *, secret: str = "wrong", path: str = "/webhooks/vapi") -> bytes:
    return request(f"X-Forwarded-For: {address}", secret=secret, start=f"POST {path} HTTP/1.1")


def counted(answer: int) -> float:
    labels = {"account": "default", "type": "none", "answer": str(answer)}
    return REGISTRY.get_sample_value("aftercall_webhooks_total", labels) or 0.0


async def test_beyond_the_limit_a_refusal_is_a_429_that_closes_and_says_when_to_come_again(strict: Port) -> None:
    heard = [await strict.hear(WRONG, answers=1) for _ in range(MOST + 2)]

    assert [statuses(each) for each in heard] == [[401]] * MOST + [[429]] * 2
    assert b"\r\nRetry-After: 60\r\n" in heard[-1]
    assert b"\r\nConnection: close\r\n" in heard[-1]
    assert await strict.talk(WRONG) == [429]


async def test_what_is_authenticated_is_accepted_however_often_its_sender_was_refused(strict: Port) -> None:
    for _ in range(MOST * 3):
        await strict.talk(WRONG, answers=1)

    assert [await strict.talk(request(), answers=1) for _ in range(MOST * 3)] == [[200]] * MOST * 3
    assert len(strict.accepted) == MOST * 3


async def test_one_who_is_refused_too_often_is_logged_once_and_counted_still(strict: Port) -> None:
    before = counted(401), counted(429)
    with capture_logs() as logs:
        for _ in range(MOST * 4):
            await strict.talk(WRONG, answers=1)

    assert [line["answer"] for line in logs] == [401] * MOST + [429]
    assert {line["caller"] for line in logs} == {"127.0.0.1"}
    assert (counted(401), counted(429)) == (before[0] + MOST, before[1] + MOST * 3)


async def test_the_limit_is_an_addresss_whichever_account_it_tries(strict: Port) -> None:
    paths = [f"/webhooks/vapi/{name}" for name in ("acme", "default", "nobody", "none", "no-one", "anyone")]

    got = [await strict.talk(of("203.0.113.7", path=path), answers=1) for path in paths]

    assert got == [[401], [401], [404], [404], [404], [429]]
    assert await strict.talk(of("203.0.113.8", path=paths[0]), answers=1) == [401]


async def test_the_limit_is_an_accounts_wherever_the_guesses_come_from(strict: Port) -> None:
    got = [await strict.talk(of(f"203.0.113.{number}"), answers=1) for number in range(MOST + 1)]

    assert got == [[401]] * MOST + [[429]]
    assert await strict.talk(of("203.0.113.1", path="/webhooks/vapi/acme"), answers=1) == [401]
    assert await strict.talk(of("203.0.113.1", secret="s3cret"), answers=1) == [200]


async def test_a_limit_of_none_refuses_as_ever() -> None:
    async with public_port() as port:
        assert [await port.talk(WRONG, answers=1) for _ in range(200)] == [[401]] * 200


async def test_only_who_may_post_is_asked_for_credentials() -> None:
    async with public_port(callers=Callers(networks(["167.150.224.0/23"]), LOCAL)) as port:
        allowed, other = "167.150.225.1", "203.0.113.7"
        assert await port.talk(of(allowed, secret="s3cret"), answers=1) == [200]
        assert await port.talk(of(allowed), answers=1) == [401]
        for who in (other, f"{allowed}, {other}", "nobody", ""):
            assert await port.talk(of(who, secret="s3cret")) == [403]
        assert await port.talk(request()) == [403]
        assert len(port.accepted) == 1


async def test_what_a_client_says_of_itself_is_not_believed_where_no_proxy_is_trusted() -> None:
    async with public_port(callers=Callers(networks(["167.150.224.0/23"]))) as port:
        assert await port.talk(of("167.150.225.1", secret="s3cret")) == [403]


async def test_several_headers_of_proxies_are_one_list() -> None:
    async with public_port(callers=Callers(networks(["192.0.2.1"]), LOCAL)) as port:
        said = ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 203.0.113.7")
        assert await port.talk(request(*said)) == [403]
        assert await port.talk(request(*reversed(said)), answers=1) == [200]


# Signatures


HMAC = {"WEBHOOK_AUTH": "hmac", "ACCOUNTS__ACME__WEBHOOK_SECRETS": "other"}
DAY_S = 86400


def signed(body: bytes = REPORT, secret: str = "s3cret", at: float = 0, path: str = "/webhooks/vapi") -> bytes:
    account = settings(**HMAC | {"WEBHOOK_SECRETS": secret}).account("default")
    assert account
    headers = signer(account, clock=lambda: at or time.time())("POST", path, body)
    said = [f"{name}: {value}" for name, value in headers.items()]
    return request(*said, body=body, secret="", start=f"POST {path} HTTP/1.1")


async def test_a_replayed_request_is_accepted_while_its_time_is_good_and_then_no_more() -> None:
    """Within it, a replay does no harm: subscribers drop what they have seen."""
    now = time.time()
    async with public_port(changes=HMAC) as port:
        replayed = signed(at=now - DAY_S + 60)
        assert [await port.talk(replayed, answers=1) for _ in range(3)] == [[200]] * 3
        for at in (now - DAY_S - 60, now + DAY_S + 60, 1.0):
            assert await port.talk(signed(at=at), answers=1) == [401]


async def test_a_request_that_is_signed_anew_with_another_key_or_said_to_be_of_now_is_a_401() -> None:
    now = time.time()
    old = signed(at=now - 2 * DAY_S)
    async with public_port(changes=HMAC) as port:
        for sent in (
            signed(secret="wrong"),
            signed(secret="other"),
            old.replace(b"%d" % (now - 2 * DAY_S), b"%d" % now),
            signed().replace(b"call-1", b"call-2"),
            signed(secret="s3cret", path="/webhooks/vapi/acme"),
            signed(REPORT[:-1] + b" ").removesuffix(b" ") + REPORT[-1:],
        ):
            assert await port.talk(sent, answers=1) == [401]
        assert not port.accepted
        assert await port.talk(signed(secret="other", path="/webhooks/vapi/acme"), answers=1) == [200]


SENT = {
    "bearer": (request(), {}),
    "x-vapi-secret": (request("X-Vapi-Secret: s3cret", secret=""), {}),
    "hmac": (signed(), HMAC),
}


@pytest.mark.parametrize(("sent", "changes"), SENT.values(), ids=SENT)
async def test_one_comparison_decides_it_is_of_bytes_and_takes_as_long_for_any_secret(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, changes: dict[str, str]
) -> None:
    """`hmac.compare_digest` takes equal time: nothing is accepted but by its word, and every secret is asked."""
    compared: list[tuple[Any, Any]] = []
    answer = False

    def compare(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return answer

    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with public_port(changes={**changes, "WEBHOOK_SECRETS": "s3cret,older,oldest"}) as port:
        assert await port.talk(sent, answers=1) == [401]
        answer = True
        assert await port.talk(sent.replace(b"s3cret", b"wrong"), answers=1) == [200]

    assert {type(each) for pair in compared for each in pair} == {bytes}
    assert len(compared) == 2 * 3, "each of the three secrets is asked, whatever the others said"
