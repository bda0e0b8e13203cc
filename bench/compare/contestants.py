"""Who takes part: the commands of each, its queues, and what it is told by its environment."""

import sys
from pathlib import Path
from typing import Final

import msgspec

HERE: Final = Path(__file__).parents[2]
RIVALS: Final = Path(__file__).parent / "rivals"
VENV: Final = HERE / ".venv-bench"
SECRET: Final = "s3cret"
REFERENCE: Final = "plain"
UVICORN: Final = ("uvicorn", "--log-level", "error", "--no-access-log", "--port", "{port}")


class Given(msgspec.Struct, frozen=True):
    """What a contestant is to work with; `folder` is for what it keeps on disk."""

    amqp_url: str
    api_url: str
    port: int
    admin_port: int
    concurrency: int
    folder: Path


class Contestant(msgspec.Struct, frozen=True):
    """A program that takes webhooks and one that works them off, from one queue into another."""

    name: str
    title: str
    endpoint: tuple[str, ...]
    worker: tuple[str, ...]
    path: str = "/webhook"
    calls: str = "bench.calls"
    enriched: str = "bench.enriched"
    binaries: Path = VENV / "bin"
    folder: Path = RIVALS

    def command(self, words: tuple[str, ...], given: Given) -> list[str]:
        """The command line of one of its programs."""
        program, *rest = (each.format(port=given.port, concurrency=given.concurrency) for each in words)
        return [str(self.binaries / program), *rest]


def environment(given: Given) -> dict[str, str]:
    """What both ours and the rivals read; each has no use for the other's."""
    rivals = {
        "BENCH_AMQP": given.amqp_url,
        "BENCH_API": given.api_url,
        "BENCH_PORT": str(given.port),
        "BENCH_CONCURRENCY": str(given.concurrency),
    }
    return rivals | {
        "AFTERCALL_AMQP_URL": given.amqp_url,
        "AFTERCALL_VAPI_API_KEY": "token",
        "AFTERCALL_VAPI_BASE_URL": given.api_url,
        "AFTERCALL_VAPI_RATE": "100000",
        "AFTERCALL_PREFETCH": str(given.concurrency),
        "AFTERCALL_WEBHOOK_SECRETS": SECRET,
        "AFTERCALL_WEBHOOK_HOST": "127.0.0.1",
        "AFTERCALL_WEBHOOK_PORT": str(given.port),
        "AFTERCALL_ADMIN_PORT": str(given.admin_port),
        "AFTERCALL_SUBSCRIBERS": "postcall",
        "AFTERCALL_SPOOL_DIR": str(given.folder / "spool"),
    }


OURS: Final = Contestant(
    name="aftercall",
    title="Aftercall",
    endpoint=("aftercall", "webhook"),
    worker=("aftercall", "consume", "enrich"),
    path="/webhooks/vapi",
    calls="calls.enrich.default",
    enriched="calls.postcall",
    binaries=Path(sys.executable).parent,
    folder=HERE,
)
CONTESTANTS: Final = {
    each.name: each
    for each in (
        OURS,
        Contestant(REFERENCE, "plain reference", ("python", "plain.py", "endpoint"), ("python", "plain.py", "worker")),
        Contestant("faststream", "FastStream", (*UVICORN, "faststream_app:app"), ("python", "faststream_app.py")),
        Contestant(
            name="celery",
            title="Celery",
            endpoint=(*UVICORN, "celery_app:app"),
            worker=(
                *("celery", "--app", "celery_app:celery", "worker", "--loglevel", "ERROR", "--pool", "threads"),
                *("--concurrency", "{concurrency}", "--without-gossip", "--without-mingle", "--without-heartbeat"),
            ),
        ),
    )
}
