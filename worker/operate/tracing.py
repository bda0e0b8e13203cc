"""Tracing, where it is switched on: what is given to it comes back with spans around it.

Off, which is without the variables of OpenTelemetry's own, each function gives back what it was given: nothing is asked
again, for a call or for anything else.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, TypeVar

import aiohttp
from aiohttp import web

from worker.operate.telemetry import logger

if TYPE_CHECKING:
    from worker.operate.spans import Handle, Publish, Settle, Spans

T = TypeVar("T")
FLUSH_S: Final = 2.0
"""How long an end waits for the collector at the most."""
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"

_spans: "Spans | None" = None


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether spans are to be exported, by the variables of OpenTelemetry; where to is another matter.

    Unlike its SDK, which would export to localhost, this takes a collector to be there only if something names it.
    Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = _exporter(environment)
    return exporter != "none" and bool(exporter or any(environment.get(name) for name in ENDPOINTS))


def _exporter(environment: Mapping[str, str]) -> str:
    return environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()


def start_tracing(service: str) -> None:
    """Switch tracing on, if it is wanted; `service` is what it is called unless OTEL_SERVICE_NAME says.

    To be called before what is to be traced is put together. What keeps tracing from working is told in the log: calls
    do not wait for their traces.
    """
    global _spans  # noqa: PLW0603  # once, at the start of the process
    if is_wanted(os.environ) and _spans is None:
        try:
            _spans = _opened(service)
        except (ImportError, ValueError) as error:
            logger().warning("tracing.off", detail=str(error))


def _opened(service: str) -> "Spans":
    """Spans with their way out. Raises `ImportError` without the extra, and `ValueError` for a variable's value."""
    if (exporter := _exporter(os.environ)) not in ("", "otlp"):
        told = "only otlp and none are understood here, so no traces are exported"
        raise ValueError(f"OTEL_TRACES_EXPORTER is {exporter}: {told}")
    asked = next((value for name in PROTOCOLS if (value := os.environ.get(name))), PROTOCOL)
    if asked != PROTOCOL:
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {asked}, and only {PROTOCOL} is spoken here")
    try:
        from worker.operate.spans import open_spans  # noqa: PLC0415  # 12 MB, for those who trace
    except ImportError as error:
        raise ImportError(f"it takes the extra: pip install 'aftercall[otel]' ({error})") from error
    return open_spans(service)


async def stop_tracing(within_s: float = FLUSH_S) -> None:
    """Export what is left, within some seconds, and not more than a collector that is there needs."""
    global _spans
    spans, _spans = _spans, None
    if spans is not None:
        await spans.flush(min(within_s, FLUSH_S))


def publishing(publish: "Publish[T]", *, apart: bool = False) -> "Publish[T]":
    """`publish` with a span around each message, which carries its context on.

    Apart, each message other than a note begins a trace of its own, with links to what it comes from.
    """
    return publish if _spans is None else _spans.publishing(publish, apart=apart)


def settling(settle: "Settle[T]") -> "Settle[T]":
    """`settle(incoming, queue, …)`, which returns a `Settlement`, with a span around each delivery."""
    return settle if _spans is None else _spans.settling(settle)


def handling(handle: "Handle") -> "Handle":
    """`handle` with a mark on the span for the error that nobody foresaw."""
    return handle if _spans is None else _spans.handling(handle)


def serving(app: web.Application) -> web.Application:
    """The same application, with a span around each request that it has a route for."""
    if _spans is not None:
        app.middlewares.append(_spans.serve)
    return app


def requests() -> list[aiohttp.TraceConfig]:
    """What an HTTP client is to be made with, for a span around each request."""
    return [] if _spans is None else [_spans.requests()]


def span(name: str, **attributes: str) -> AbstractContextManager[object]:
    """A span around work that nobody asked for by a message or a request."""
    return nullcontext() if _spans is None else _spans.span(name, attributes=attributes)
