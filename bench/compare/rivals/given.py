"""What every rival is given by the comparison, and the names they share."""

import os

AMQP = os.environ["BENCH_AMQP"]
API = os.environ["BENCH_API"]
PORT = int(os.environ["BENCH_PORT"])
CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
HEADERS = {"Authorization": "Bearer token"}
SECRET = "s3cret"
CALLS, ENRICHED = "bench.calls", "bench.enriched"
QUORUM = {"x-queue-type": "quorum"}
TRIES = 5
TIMEOUT_S = 10
