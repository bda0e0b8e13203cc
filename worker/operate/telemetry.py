"""Metrics and logs: one closed set of names, bounded labels, no personal data.

Log lines say what happened to which call id, never what was said in it nor who was called.
"""

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import version
from itertools import product
from typing import Any, Final, cast

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from consumers.quoting import OPEN, place_in, unquoted

ANSWERS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
"""From a confirmed publish (milliseconds) past the endpoint's 2 s for the broker to the 20 s that Vapi waits."""
SETTLINGS_S: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""From a write to the ledger to the minute that a delivery is held at the most."""
REQUESTS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
AGES_S: Final = (0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 3600, 21600, 86400)
"""From an empty queue through the tiers to the day after which a call is given up."""
ENDS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1200, 3600, 21600, 86400)
"""From Vapi's own seconds, past the objective (60 s) and the deadline (900 s), to what only the sweep found."""

disable_created_metrics()  # type: ignore[no-untyped-call]

WEBHOOKS: Final = Counter("aftercall_webhooks", "Webhooks by what was answered", ["account", "type", "answer"])
WEBHOOK_SECONDS: Final = Histogram("aftercall_webhook_seconds", "From request to answer", buckets=ANSWERS_S)
CONNECTIONS: Final = Gauge("aftercall_webhook_connections", "Open connections of the endpoint")
CONNECTIONS_DROPPED: Final = Counter(
    "aftercall_connections_dropped", "Connections closed for another: there were as many as there may be"
)
DELIVERIES: Final = Counter("aftercall_deliveries", "Deliveries by how they were settled", ["queue", "outcome"])
DUPLICATES: Final = Counter(
    "aftercall_duplicates", "Events a subscriber dropped: done before, or older than one that was", ["queue", "verdict"]
)
DELIVERY_SECONDS: Final = Histogram(
    "aftercall_delivery_seconds", "From delivery to settlement", ["queue"], buckets=SETTLINGS_S
)
DELIVERY_AGE_SECONDS: Final = Histogram(
    "aftercall_delivery_age_seconds", "From the call's reception to the delivery", ["queue"], buckets=AGES_S
)
VAPI_REQUESTS: Final = Counter("aftercall_vapi_requests", "Requests to Vapi by status", ["account", "status"])
VAPI_REQUEST_SECONDS: Final = Histogram("aftercall_vapi_request_seconds", "One request to Vapi", buckets=REQUESTS_S)
BREAKER_OPEN: Final = Gauge("aftercall_breaker_open", "Whether the account's API is known to be away", ["account"])
CRM_CALLS: Final = Counter("aftercall_crm_calls", "Calls by what became of them in the CRM", ["account", "verdict"])
CRM_REQUESTS: Final = Counter("aftercall_crm_requests", "Requests to HubSpot by status", ["account", "status"])
CRM_REQUEST_SECONDS: Final = Histogram("aftercall_crm_request_seconds", "One request to HubSpot", buckets=REQUESTS_S)
CRM_BREAKER_OPEN: Final = Gauge("aftercall_crm_breaker_open", "Whether HubSpot is known to be away", ["account"])
BREAKERS_OPEN: Final[Mapping[str, Gauge]] = {"vapi": BREAKER_OPEN, "hubspot": CRM_BREAKER_OPEN}
SWEEP_CALLS: Final = Counter("aftercall_sweep_calls", "Calls that Vapi lists, by verdict", ["account", "verdict"])
CALLS_UNACCOUNTED: Final = Gauge("aftercall_calls_unaccounted", "Calls Vapi lists, not accounted for", ["account"])
SPOOL_NOTIFICATIONS: Final = Gauge("aftercall_spool_notifications", "Messages that wait in the spool for the broker")
SPOOL_OLDEST_SECONDS: Final = Gauge("aftercall_spool_oldest_seconds", "How long the oldest of them has waited")
SPOOL_BYTES: Final = Gauge("aftercall_spool_bytes", "What lies in the spool")
SPOOL_MAX_BYTES: Final = Gauge("aftercall_spool_max_bytes", "How much may lie there: AFTERCALL_SPOOL_MAX_BYTES")
SPOOL_SET_ASIDE: Final = Gauge("aftercall_spool_set_aside", "Messages in the spool that the broker cannot take")
SPOOL_FAILING: Final = Gauge("aftercall_spool_failing", "Whether the spool can take nothing: full or failing")
CALL_END_TO_EMIT_SECONDS: Final = Histogram(
    "aftercall_call_end_to_emit_seconds", "From a call's end to its first enriched event", ["source"], buckets=ENDS_S
)
CALL_END_TO_RECEIPT_SECONDS: Final = Histogram(
    "aftercall_call_end_to_receipt_seconds", "From a call's end to its webhook, or the sweep's find", buckets=ENDS_S
)
DEAD_LETTERS: Final = Counter("aftercall_dead_letters", "Dead letters by cause", ["queue", "reason"])
FORWARD_POSTS: Final = Counter("aftercall_forward_posts", "Posts to targets by status", ["target", "status"])
FORWARD_STOPPED: Final = Gauge("aftercall_forward_stopped", "Whether a target said that it is gone (410)", ["target"])
ALERTS: Final = Counter("aftercall_alerts", "Alerts by rule: raised, reminded of and over", ["rule", "what"])
ALERTS_OPEN: Final = Gauge("aftercall_alerts_open", "Accounts for which a rule is raised", ["rule"])
ALERT_MESSAGES: Final = Counter("aftercall_alert_messages", "Messages of alerts to targets", ["target", "outcome"])
DRIFT: Final = Counter("aftercall_drift", "What Vapi sent that is not known here", ["what"])
MEMORY_MAX_BYTES: Final = Gauge("aftercall_memory_max_bytes", "AFTERCALL_MEMORY_MAX_BYTES; 0: no limit")
ROLE_INFO: Final = Gauge("aftercall_role_info", "The roles that this process runs", ["runs"])
BUILD_INFO: Final = Gauge("aftercall_build_info", "The version that runs", ["version", "python"])


def _remember_series(*metrics: Counter | Histogram) -> None:
    """Keep the series of metrics at hand: to find one takes twice as long as to count in it. None is ever removed."""
    for metric in metrics:
        metric.labels = lru_cache(maxsize=4096)(metric.labels)  # type: ignore[method-assign, assignment]


_remember_series(WEBHOOKS, DELIVERIES, DELIVERY_SECONDS, DELIVERY_AGE_SECONDS, VAPI_REQUESTS, CALL_END_TO_EMIT_SECONDS)

TOLD: Final = ("detail", "reason")
LIBRARY_MAX: Final = 300
Log = structlog.stdlib.BoundLogger


_log: Log | None = None


def logger() -> Log:
    """The log of this process."""
    return _log if _log is not None and structlog.is_configured() else cast("Log", structlog.get_logger())


def at_zero(counter: Counter | Histogram, *values: Iterable[str]) -> None:
    """Have a series for each combination of label values: a first count that comes with its series is no increase.

    Source: https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics.
    """
    for combination in product(*values):
        counter.labels(*combination)


def status_label(status: int) -> str:
    """An HTTP status as a label: the peer chooses it, so what no HTTP has is `other`."""
    return str(status) if 100 <= status <= 599 else "other"  # noqa: PLR2004


def new_traceparent() -> str:
    """A trace of its own for a call nobody traced before (W3C Trace Context, not sampled)."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"


def start_telemetry(*, json: bool | None = None) -> None:
    """Set up logging to standard error, as JSON lines unless that is a terminal, and tell which build runs."""
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_quotes,
    ]
    structlog.configure(
        processors=[*shared, *_renderers(as_json=as_json)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer) if as_json else _terminal(),
        cache_logger_on_first_use=True,
    )
    global _log  # noqa: PLW0603  # put together once: that takes longer than a line does
    _log = cast("Log", structlog.get_logger().bind())
    _adopt_libraries()
    BUILD_INFO.labels(version("aftercall"), sys.version.split()[0]).set(1)


def _without_quotes(_logger: Any, _method: str, event: Any) -> Any:
    """Leave out the words of others, which may be about a call."""
    for key in TOLD:
        if isinstance(text := event.get(key), str) and OPEN in text:
            event[key] = unquoted(text)
    return event


def _renderers(*, as_json: bool) -> list[Any]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=orjson.dumps)]
    return [structlog.dev.ConsoleRenderer()]


def _terminal() -> Any:
    return structlog.PrintLoggerFactory(sys.stderr)


class _Forward(logging.Handler):
    """Hands the lines of libraries to our log, so that every line has one shape."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as `library.logged`: asyncio's further lines show what was in hand."""
        told = record.getMessage().partition("\n")[0][:LIBRARY_MAX]
        error = {"error": place_in(record.exc_info[1])} if record.exc_info and record.exc_info[1] else {}
        logger().warning("library.logged", library=record.name, detail=told, **error)


def _adopt_libraries() -> None:
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
