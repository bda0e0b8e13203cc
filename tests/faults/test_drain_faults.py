"""The fault list's rows for the spool's drain, with real processes and brokers: killed, stopped, shared, behind."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Callable

from tests.faults.conftest import Endpoint, arrived, away, settle, take_all
from tests.processes import RunningProcess, eventually
from worker.simulate.rabbitmq import PrivateNode
from worker.simulate.tcp_proxy import TcpProxy

Start = Callable[..., RunningProcess]
PROMPT_S = 1.0  # far below the 2 s of a publish that times out


async def fall_behind(endpoint: Endpoint, wire: TcpProxy) -> None:
    """Spool 1500 notifications, and let the broker come back."""
    await away(wire)
    endpoint.start()
    await endpoint.ready()
    for _ in range(15):
        assert await endpoint.post_many(100, size=20_000) == {200: 100}
    await wire.accept()


async def test_22_an_endpoint_killed_under_load_keeps_all_it_answered_for(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await away(wire)
    endpoint.start()
    await endpoint.ready()

    async def post() -> None:
        await endpoint.post(size=20_000)
        if len(endpoint.kept) > 50:
            endpoint.process.signal(signal.SIGKILL)

    await asyncio.gather(*(post() for _ in range(300)), return_exceptions=True)
    assert 50 < len(endpoint.kept) < 300
    await wire.accept()
    await endpoint.started()

    assert (await arrived(endpoint, node.url)).keys() >= set(endpoint.kept)


DRAIN_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from worker.broker.publisher import Publisher
from worker.ingress.spool.drain import Drain
from worker.ingress.spool.keeper import Gate
from worker.ingress.spool.writer import Spool
from worker.settings import Secret

async def nothing(*_):
    pass

async def main():
    spool = Spool(Path(sys.argv[1]), 2**30)
    await spool.open()
    publisher = Publisher(Secret(sys.argv[2]), name="drain", timeout_s=10, is_patient=True, set_up=nothing)
    session = asyncio.ensure_future(publisher.session.run())

    async def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    spool.forget = die
    await Drain(spool, publisher.publish, Gate(lambda: True), publisher.unblocked).run()

asyncio.run(main())
"""


async def test_23_a_drain_killed_between_confirm_and_deletion_is_a_duplicate_and_no_loss(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy, start_process: Start
) -> None:
    await endpoint.started()
    await settle()
    await away(wire)
    assert await eventually(lambda: endpoint.post_many(5)) == {200: 5}
    await endpoint.process.terminate()
    await wire.accept()
    dying = start_process(sys.executable, "-c", DRAIN_AND_DIE, str(endpoint.spool), node.url)
    assert await dying.wait() < 0

    await endpoint.started()
    await endpoint.drained()

    messages = await take_all(node.url)
    assert len(messages) == 10
    for call_id in endpoint.kept:
        mine = [message for message in messages if message.correlation_id == call_id]
        assert len(mine) == 2
        assert len({message.headers["ce-id"] for message in mine}) == 1


async def test_a_sigterm_while_it_drains_stops_between_records_and_the_next_goes_on(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await fall_behind(endpoint, wire)

    async def begun() -> bool:
        return 0 < await endpoint.metric("aftercall_spool_notifications") < 1500

    await eventually(begun)
    assert await endpoint.process.terminate() == 0

    (file,) = endpoint.spool.glob("*.db")
    with sqlite3.connect(file) as connection:
        (left,) = connection.execute("SELECT COUNT(*) FROM records").fetchone()
    connection.close()
    assert not list(endpoint.spool.glob("*-wal")), "closed in order"
    await endpoint.started()
    found = await arrived(endpoint, node.url)
    assert set(found.values()) == {1}, "what was settled before the end is not published again"
    assert 0 < left < 1500


async def test_live_traffic_is_not_starved_while_a_backlog_drains(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy
) -> None:
    await fall_behind(endpoint, wire)
    endpoint.took_s.clear()

    async def is_drained() -> bool:
        assert await endpoint.post(size=20_000) == 200
        return "spool.drained" in endpoint.process.text()

    await eventually(is_drained)

    assert max(endpoint.took_s) < PROMPT_S
    assert endpoint.process.text().count("webhook.accepted") > 3, "live calls need not queue up behind the old ones"
    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)


async def test_two_endpoints_share_a_folder_and_the_living_drains_what_the_dead_left(
    endpoint: Endpoint, node: PrivateNode, wire: TcpProxy, start_process: Start
) -> None:
    other = Endpoint(endpoint.amqp_url, endpoint.spool, start_process, endpoint.http)
    await away(wire)
    for each in (endpoint, other):
        each.start()
        await each.ready()
        assert await each.post_many(20) == {200: 20}
    assert len(list(endpoint.spool.glob("*.db"))) == 2

    await other.process.kill()
    await wire.accept()
    endpoint.kept += other.kept

    assert (await arrived(endpoint, node.url)).keys() == set(endpoint.kept)
