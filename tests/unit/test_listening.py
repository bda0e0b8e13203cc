import asyncio
import socket

import pytest

from worker.cli.listening import not_listening

KEYS = ("AFTERCALL_ADMIN_HOST", "AFTERCALL_ADMIN_PORT")


async def refusal(host: str, port: int) -> str:
    with pytest.raises(OSError, match=r".") as caught:
        await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    return not_listening(caught.value, host, port, keys=KEYS)


async def test_a_port_in_use_is_told_with_the_two_ways_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        told = await refusal("127.0.0.1", port)

    assert told.startswith(f"AFTERCALL_ADMIN_PORT: another process listens on port {port} already: end that one, or")


async def test_an_address_of_another_machine_is_told_by_both_keys() -> None:
    assert await refusal("192.0.2.1", 8080) == (
        "AFTERCALL_ADMIN_HOST, AFTERCALL_ADMIN_PORT: cannot listen at 192.0.2.1:8080: Cannot assign requested address"
    )


async def test_a_host_without_an_address_is_told_in_the_resolvers_words() -> None:
    told = await refusal("no-such-host.invalid", 8080)

    assert told.startswith("AFTERCALL_ADMIN_HOST, AFTERCALL_ADMIN_PORT: cannot listen at no-such-host.invalid:8080: ")
    assert "(" not in told
    assert not told.endswith("None")
