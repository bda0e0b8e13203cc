"""A process killed at any moment: every record that it was told is kept is there, whole, and the file is sound."""

import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from worker.ingress.spool.writer import Spool

KEEPER = """
import asyncio, os, sys
from hashlib import sha256
from pathlib import Path
from consumers.messages import Message
from worker.ingress.spool.writer import Spool

def message(name):
    body = sha256(name.encode()).digest() * 640
    return Message(exchange="calls", routing_key="k", body=body, type="t", call_id=name, headers={"x": name})

async def keep(spool, worker):
    for number in range(10**9):
        name = f"{worker}-{number}"
        await spool.keep(message(name))
        os.write(1, f"kept {name}\\n".encode())

async def drain(spool):
    while True:
        records = await spool.oldest(16)
        os.write(1, "".join(f"confirmed {record.message.call_id}\\n" for record in records).encode())
        await spool.forget(records)

async def main():
    spool = Spool(Path(sys.argv[1]), 2**40)
    await spool.open()
    await asyncio.gather(*(keep(spool, worker) for worker in range(int(sys.argv[2]))), drain(spool))

asyncio.run(main())
"""


def killed_after(folder: Path, lines: int, workers: int) -> list[str]:
    """Let a process keep and drain until it has said so many lines, kill it, and return all that it said."""
    command = [sys.executable, "-c", KEEPER, str(folder), str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [line.strip() for line in said if line.endswith("\n")]


def corrupted_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.corrupted-*"))


@pytest.mark.parametrize(("lines", "workers"), [(1, 1), (40, 1), (150, 8), (333, 64), (1000, 64), (2500, 32)])
async def test_every_record_kept_is_there_or_was_confirmed(tmp_path: Path, lines: int, workers: int) -> None:
    said = killed_after(tmp_path, lines, workers)
    kept = {line.removeprefix("kept ") for line in said if line.startswith("kept ")}
    confirmed = {line.removeprefix("confirmed ") for line in said if line.startswith("confirmed ")}

    spool = Spool(tmp_path, 2**40)
    await spool.open()
    records = []
    while more := await spool.oldest(1000):
        records += more
        await spool.forget(more)
    await spool.close()

    assert not corrupted_in(tmp_path)
    assert kept - confirmed <= {record.message.call_id for record in records}
    for record in records:
        assert record.message.body == sha256(record.message.call_id.encode()).digest() * 640
        assert record.message.headers == {"x": record.message.call_id}
