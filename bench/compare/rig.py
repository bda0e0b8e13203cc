"""What all measurements share: where API and broker are, a contestant's queues, and its endpoint."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench.bodies import PLACE, report_of
from bench.compare.api import Answers
from bench.compare.broker import Queues
from bench.compare.contestants import SECRET, Contestant, Given
from bench.compare.programs import Program, running
from bench.rig import spent_s
from worker.simulate.rabbitmq import free_ports

CONNECTIONS: Final = 64
SIZE_KB: Final = 20
LOOK_S: Final = 1.0
IDLE_S: Final = 0.05
"""That many processor seconds of the broker in between are none."""
REST_MAX_S: Final = 60.0


class Rig(msgspec.Struct, frozen=True):
    """What all measurements share: the API, each contestant's virtual host, a folder, and how long they may take."""

    api: dict[Answers, str]
    hosts: dict[str, str]
    folder: Path
    seconds: int
    long_backlog: int
    broker_pid: int

    def given(self, contestant: Contestant, answers: Answers, concurrency: int = CONNECTIONS) -> Given:
        """What a contestant is told; its ports are new each time."""
        port, admin_port = free_ports(2)
        return Given(
            self.hosts[contestant.name], self.api[answers], port, admin_port, concurrency, self.folder / str(port)
        )

    def report(self, size_kb: int) -> Path:
        """A file with a webhook's body."""
        path = self.folder / f"report-{size_kb}.json"
        path.write_bytes(report_of(size_kb * 1024))
        return path


def rest(rig: Rig) -> None:
    """Wait until the broker has put away what came in: after many at once it goes on with that for seconds."""
    end_at, spent = time.monotonic() + REST_MAX_S, -1.0
    while (now := spent_s(rig.broker_pid)) - spent > IDLE_S and time.monotonic() < end_at:
        spent = now
        time.sleep(LOOK_S)


@contextmanager
def queues_of(rig: Rig, contestant: Contestant) -> Iterator[Queues]:
    """Its queues, empty."""
    with closing(Queues(rig.hosts[contestant.name], contestant)) as queues:
        queues.empty()
        yield queues


@contextmanager
def endpoint_of(rig: Rig, contestant: Contestant) -> Iterator[tuple[Program, str]]:
    """An endpoint that listens, and its URL."""
    given = rig.given(contestant, (SIZE_KB, 0))
    with running(contestant, contestant.endpoint, given) as program:
        program.wait(lambda: _listens(given.port))
        yield program, f"http://127.0.0.1:{given.port}{contestant.path}"


def post_one(rig: Rig, url: str, size_kb: int) -> None:
    """Let one webhook through, which makes the queues and what to fill them with."""
    body = rig.report(size_kb).read_bytes().replace(PLACE, b"1".zfill(len(PLACE)))
    headers = {"Content-Type": "application/json", "X-Vapi-Secret": SECRET}
    urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).read()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
