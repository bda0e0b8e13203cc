"""What keeps posts out of the private network, and a slow target from taking all there is."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from consumers.outcomes import Retry
from tests.integration.targets import BODY, ID, Server, client, refusal, refused, serving
from worker.clients.target.gate import Patience
from worker.clients.target.guard import PrivateAddress, public_socket


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as started:
        yield started


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"])
async def test_what_leads_into_the_private_network_is_never_connected_to(server: Server, host: str) -> None:
    port = server.url.rpartition(":")[2]

    error = await refusal(f"http://{host}:{port}/hook", allow_private=False)

    assert isinstance(error, Retry)
    assert error.reason == (
        "is not posted to: its name leads to an address that is not public, which takes allow_private = true"
    )
    assert not server.received


async def test_a_numeral_that_some_take_for_an_address_is_not_connected_to(server: Server) -> None:
    error = await refusal(f"http://2130706433:{server.url.rpartition(':')[2]}/hook", allow_private=False)

    assert error.reason == "cannot be reached: InvalidUrlClientError"
    assert not server.received


def test_the_socket_itself_is_refused_so_that_no_second_look_at_a_name_is_believed() -> None:
    with pytest.raises(PrivateAddress):
        public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80)))
    public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))).close()


async def test_no_more_posts_are_in_flight_than_the_target_is_given(server: Server) -> None:
    server.answers(delay_s=3600)
    async with client(f"{server.url}/hook", at_once=3, patience=Patience(turn_s=0.2), timeout_s=1) as target:
        errors = await asyncio.gather(*(refused(target) for _ in range(20)))

    told = [str(error) for error in errors]
    assert len(server.received) == 3
    assert told.count("has 3 calls to answer") == 17


async def test_posts_of_a_target_that_answers_wait_for_their_turn(server: Server) -> None:
    server.answers(delay_s=0.02)
    async with client(f"{server.url}/hook", at_once=3) as target:
        await asyncio.gather(*(target.post(f"{ID}{number}", BODY) for number in range(60)))

    assert len({each["headers"]["webhook-id"] for each in server.received}) == 60
